"""The server of the standard API: the paths and shapes of OpenAI's, answered by models on this machine."""
