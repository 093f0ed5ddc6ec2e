// Set the chosen theme before anything is painted. Everything else is in modules, which run later.
try {
  const theme = localStorage.getItem("picochat.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be switched off; then the system's theme holds.
}
