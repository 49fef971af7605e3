// How serious a line of output is. Nix and git write everything to standard error, so the stream says nothing: the
// words decide, and whether the command failed in the end.

// At the beginning of a line, behind indentation, a path or the name of a program: "error:", "fatal:", "E: ", "FAILED".
const ERROR =
  /^\s*(?:[\w./-]{1,40}(?:\[\d+\])?: )?(?:error|fatal|panic|panicked|failed|failure|traceback|e)\b(?::| \(| at |$)/i;
// Anywhere in a line: what shells, kernels and Nix say of a failure.
const FAILED = new RegExp(
  [
    "failed with exit code",
    "returned non-zero exit status",
    "command not found",
    "No space left on device",
    "Permission denied",
    "Segmentation fault",
    "core dumped",
    "FAILED",
  ]
    .map((words) => `\\b${words}\\b`)
    .join("|"),
);
const WARNING = /^\s*(?:[\w./-]{1,40}(?:\[\d+\])?: )?(?:warn|warning|w)\b:/i;

// "error", "warning" or "".
export function severity(line) {
  // Most lines are long and harmless; what matters is near their beginning.
  const start = line.length > 400 ? line.slice(0, 400) : line;
  if (WARNING.test(start)) return "warning";
  return ERROR.test(start) || FAILED.test(start) ? "error" : "";
}
