// Before the first paint: the theme a person chose, where they chose one.
(() => {
  "use strict";
  try {
    const chosen = localStorage.getItem("homelab-theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch { /* no storage: the system's theme it is */ }
})();
