"""What all tests share."""

import signal

# A shell's background jobs ignore Ctrl-C and hand that on to their children; tests that press it would wait forever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
