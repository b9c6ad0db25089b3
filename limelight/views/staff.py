"""A tune on a staff, as one HTML file that needs nothing else: choose a note, and the bars it listens to light up."""

import json
from fractions import Fraction
from html import escape

from limelight.look.session import Progress
from limelight.music.tune import Key, Note, Tune
from limelight.tasks.look_music import SeenTune

LINE, WIDE, LEFT = 118, 920, 12  # pixels of a system and of the page
TOP, GAP = 44, 4  # of the staff's highest line in a system, and between a line and a space
HEAD = {"#": (10, 7, 11, 8, 5, 9, 6), "b": (6, 9, 5, 8, 4, 7, 3)}
"""Where the signs of a key stand, by letters above middle C."""

CLEF = (
    "M10 44c-4 4-9 0-6-4M10 44c4-2 3-7 2-12L8 8c-1-6 2-11 4-9 3 4 0 9-4 13-6 6-9 11-5 17 5 6 14 3 14-5 0-7-9-9-12-3"
    "-2 4 0 8 3 9"
)
"""A clef of G, whose lower curl goes round the second line."""

PEN = "stroke=currentColor stroke-width=1.6 stroke-linecap=round"

SIGNS = {2: "♯♯", 1: "♯", 0: "♮", -1: "♭", -2: "♭♭"}

EIGHTH = 0.25  # seconds

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
background: #fff }
svg { width: 100%; height: auto } .bar { fill: #d9822b; fill-opacity: 0 } .note { cursor: pointer; outline: none }
.note:hover, .note:focus-visible, .note.on { color: #1f6feb } .hit { fill: transparent } .playing { color: #2f8f83 }
button { font: inherit; padding: .3rem .8rem } small { color: #595959 } #said { min-height: 8rem }
"""

SCRIPT = """
const notes = [...document.querySelectorAll('.note')], bars = [...document.querySelectorAll('.bar')];
const said = document.getElementById('said'), play = document.getElementById('play');
const times = loss => Number(Math.exp(Math.abs(loss)).toPrecision(2)).toLocaleString('en');
const fold = loss => `${times(loss)} × ${loss < 0 ? 'more' : 'less'} likely`;
function show(i) {
  notes.forEach((each, j) => each.classList.toggle('on', i === j));
  const row = DATA.matrix[i];
  bars.forEach((each, j) => each.style.fillOpacity = Math.min(.85, Math.max(0, row[j + 1]) / 4));
  const most = row.map((loss, j) => [loss, j]).filter(each => each[0] > .14).sort((a, b) => b[0] - a[0]).slice(0, 4);
  const lines = [`Note ${DATA.places[i][1]} of bar ${DATA.places[i][0]}:`,
    ...(most.length ? most.map(([loss, j]) => `${fold(loss)} without ${DATA.names[j]}`)
      : ['no part of the tune in front of it makes a difference.']), '', ...DATA.told[DATA.places[i][0] - 1]];
  said.replaceChildren(...lines.map(line => Object.assign(document.createElement('div'), { textContent: line })));
}
notes.forEach((each, i) => {
  each.onclick = each.onfocus = () => show(i);
  each.onkeydown = event => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 }[event.key];
    if (notes[to]) { notes[to].focus(); event.preventDefault(); }
  };
});
let audio = null;
play.onclick = () => {
  if (audio) { audio.close(); audio = null; play.textContent = 'Play'; return; }
  const context = audio = new AudioContext(), start = context.currentTime + .1;
  play.textContent = 'Stop';
  for (const [at, length, keys, i] of DATA.sounds) {
    for (const key of keys) {
      const tone = new OscillatorNode(context, { type: 'triangle', frequency: 440 * 2 ** ((key - 69) / 12) });
      const loud = new GainNode(context, { gain: 0 });
      loud.gain.setValueAtTime(.2 / keys.length, start + at);
      loud.gain.linearRampToValueAtTime(0, start + at + length * .95);
      tone.connect(loud).connect(context.destination);
      tone.start(start + at); tone.stop(start + at + length);
    }
    setTimeout(() => { if (audio === context) notes.forEach((each, j) => each.classList.toggle('playing', i === j)); },
      1000 * at + 100);
  }
  const [at, length] = DATA.sounds.at(-1);
  setTimeout(() => { if (audio === context) play.onclick(); }, 1000 * (at + length) + 200);
};
show(DATA.first);
"""


def page(seen: SeenTune, tune: Tune, bar: int, note: int | None, name: str, progress: Progress | None = None) -> str:
    """The page about a tune, with a bar's note (both from 1) chosen. name: of the model."""
    told = [seen.importance(number, progress=progress).told()[1:] for number in range(1, len(seen.bars) + 1)]
    places = [(at, n) for at, each in enumerate(seen.bars, 1) for n in range(1, len(each.notes) + 1)]
    data = {
        "matrix": [[round(loss, 3) for loss in row] for row in seen.matrix().tolist()],
        "names": [part.text.replace("\n", " ") for part in seen.parts],
        "told": told,
        "places": places,
        "sounds": _sounds(tune),
        "first": places.index((bar, note or 1)),
    }
    title = escape(tune.title or f"A tune in {tune.key}")
    held = json.dumps(data).replace("<", "\\u003c")
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline';"
        " script-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"
        f"<p>Choose a note: the bars light up without which {escape(name)} would not have written it."
        " <button id=play>Play</button></p>"
        f"{staff(tune)}<div id=said aria-live=polite></div><p><small>Measured: each bar is hidden in turn from all that"
        " follows, and the note becomes so many times less likely. What is said of a whole bar is checked by deleting"
        f" the bars that are named, and all others.</small></p><script>const DATA = {held};{SCRIPT}</script></html>\n"
    )


def staff(tune: Tune) -> str:
    """The tune as SVG, a section on a line or more."""
    drawn: list[str] = []
    system, number = 0, 0

    def place(parts: list[tuple[tuple[Note, ...], str]]) -> None:
        """A line of bars, each with the sign at its end."""
        nonlocal system, number
        front = LEFT + 26 + 8 * abs(tune.key.sharps) + (22 if system == 0 else 0)
        each = (WIDE - front - LEFT) / max(1, sum(len(bar) + 1 for bar, _ in parts))
        top, x = system * LINE + TOP, float(front)
        drawn.extend(_rule(LEFT, top + 2 * GAP * line, WIDE - LEFT) for line in range(5))
        drawn.append(f"<path transform='translate({LEFT + 2} {top - 7})' d='{CLEF}' fill=none {PEN} />")
        drawn.extend(_signature(tune, top))
        if system == 0:
            at = front - 22
            drawn.extend(_text(at, top + (4 + 4 * i) * GAP - 1, str(n), 20, "bold") for i, n in enumerate(tune.metre))
        for bar, sign in parts:
            number += 1
            wide = each * (len(bar) + 1)
            size = f"x={x:.1f} y={top - 26} width={wide:.1f} height={8 * GAP + 50}"
            drawn.append(f"<rect class=bar {size}><title>bar {number}</title></rect>")
            drawn.append(_text(x + 2, top - 28, str(number), 9))
            said: dict[int, int] = {}
            for at, note in enumerate(bar):
                name = f"note {at + 1} of bar {number}"
                drawn.append(_note(note, x + each * (at + 0.8), top, name, tune.key, said))
            x += wide
            drawn.append(f"<path d='M{x:.1f} {top}v{8 * GAP}' stroke=currentColor />")
            if sign:
                drawn.append(_text(x - 14, top - 6, sign, 12, "bold"))
        system += 1

    for section in tune.sections:
        bars = [(bar, "") for bar in section.written()]
        ends = [len(bars) - 1]
        if section.endings is not None:
            ends.append(len(bars) - 1 - len(section.endings[1]))
        for end in ends:
            repeats = section.repeated or (section.endings is not None and end != len(bars) - 1)
            bars[end] = (bars[end][0], ":‖" if repeats else "‖")
        for at in range(0, len(bars), 4):
            place(bars[at : at + 4])
    return f"<svg viewBox='0 0 {WIDE} {system * LINE + 10}' role=group aria-label='The tune'>{''.join(drawn)}</svg>"


def _note(note: Note, x: float, top: int, name: str, key: Key, said: dict[int, int]) -> str:
    """said: the accidentals of the bar so far, by letter."""
    parts = [f"<rect class=hit x={x - 9:.1f} y={top - 20} width=22 height={8 * GAP + 40} />"]
    if note.symbol:
        parts.append(_text(x - 6, top - 14, note.symbol, 11))
    if note.tuplet:
        parts.append(_text(x + 4, top + 8 * GAP + 20, str(note.tuplet), 10))
    dot = note.length.numerator in {3, 6, 12}
    if not note.pitches:
        parts.append(_text(x - 4, top + 5 * GAP, "𝄽" if note.length >= 2 else "𝄾", 22))
    steps = [pitch.step for pitch in note.pitches]
    for pitch in note.pitches:
        y = top + (10 - pitch.step) * GAP
        fill = "none" if note.length >= 4 else "currentColor"
        parts.append(f"<ellipse cx={x:.1f} cy={y} rx=5 ry=3.6 fill={fill} stroke=currentColor stroke-width=1.4 />")
        ledgers = [*range(0, pitch.step - 1, -2), *range(12, pitch.step + 1, 2)]
        parts.extend(_rule(x - 8, top + (10 - step) * GAP, x + 8) for step in ledgers if not 2 <= step <= 10)
        if said.get(pitch.step % 7, key.alter(pitch.step)) != pitch.alter:
            parts.append(_text(x - 15, y + 4, SIGNS[pitch.alter], 13))
        said[pitch.step % 7] = pitch.alter
        if dot:
            parts.append(f"<circle cx={x + 9:.1f} cy={y - 2} r=1.5 fill=currentColor />")
    if steps and note.length < 8:
        up = sum(steps) / len(steps) < 6
        side, way = (x + 4.6, -1) if up else (x - 4.6, 1)
        near = top + (10 - (min(steps) if up else max(steps))) * GAP
        far = top + (10 - (max(steps) if up else min(steps))) * GAP + way * 26
        parts.append(f"<path d='M{side:.1f} {near}V{far}' stroke=currentColor stroke-width=1.3 />")
        flags = 0 if note.length >= 2 else 1 if note.length >= 1 else 2
        parts.extend(
            f"<path d='M{side:.1f} {far - way * 6 * flag}q2 {-way * 6} 7 {-way * 10}' fill=none stroke=currentColor />"
            for flag in range(flags)
        )
    return f"<g class=note tabindex=0 role=button aria-label='{name}'>{''.join(parts)}</g>"


def _signature(tune: Tune, top: int) -> list[str]:
    sharps = tune.key.sharps
    kind, sign = ("#", "♯") if sharps > 0 else ("b", "♭")
    places = HEAD[kind][: abs(sharps)]
    return [_text(LEFT + 26 + 8 * i, top + (10 - step) * GAP + 4, sign, 13) for i, step in enumerate(places)]


def _rule(x: float, y: float, to: float) -> str:
    return f"<path d='M{x:.1f} {y}H{to:.1f}' stroke=currentColor stroke-width=.8 />"


def _text(x: float, y: float, text: str, size: int, weight: str = "normal") -> str:
    return f"<text x={x:.1f} y={y} font-size={size} font-weight={weight} fill=currentColor>{escape(text)}</text>"


def _sounds(tune: Tune) -> list[tuple[float, float, list[int], int]]:
    """When each note sounds, in seconds, for how long, which keys, and its number; once through what is written."""
    found, at = [], Fraction(0)
    for index, note in enumerate(tune.notes()):
        if note.pitches:
            keys = [pitch.midi for pitch in note.pitches]
            found.append((float(at) * EIGHTH, float(note.sounds) * EIGHTH, keys, index))
        at += note.sounds
    return found
