// Runs before the first paint: a theme chosen earlier must not flash in the other one.
const saved = localStorage.getItem("pilothouse.theme");
if (saved === "dark" || saved === "light") document.documentElement.dataset.theme = saved;
