// The page: everything comes from the server that sent it.
import { start } from "./app.js";
import { live } from "./live.js";

start(document.body, live());
