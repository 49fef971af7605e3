// What survives a reload. A private window may refuse to keep anything; then the page works without.

// `area` is "sessionStorage" for this tab or "localStorage" for all of them. Even to name them may be refused.
export function kept(area, name) {
  try {
    return JSON.parse(window[area].getItem(name) ?? "null");
  } catch {
    return null;
  }
}

export function keep(area, name, value) {
  try {
    window[area].setItem(name, JSON.stringify(value));
  } catch {
    // Refused or full: it is forgotten with the page.
  }
}
