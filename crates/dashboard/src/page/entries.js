// Messages as entries of a host's log, in the form in which the dashboard tells the log itself.

export function entriesOf(type, { host_id: _, ...message }) {
  switch (type) {
    case "output": {
      const { command, job_id, head, lines } = message;
      const begin = head == null ? [] : [{ kind: "head", n: head, command, job_id, at: lines[0]?.at }];
      return [...begin, ...lines.map((line) => ({ kind: "line", job_id, ...line }))];
    }
    case "status":
      return [{ kind: "end", at: message.received_at, ...message }];
    case "command_rejected":
      return [{ kind: "rejected", ...message }];
    default:
      return [];
  }
}
