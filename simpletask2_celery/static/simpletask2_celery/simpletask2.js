// Lets the countdowns of leases run. Without it they say what was left when the page was made.
"use strict";
(() => {
    const since = new WeakMap(); // a part of the page may be newer than the page
    const clock = (seconds) => {
        const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
        const shown = parts[0] ? parts : parts.slice(1);
        return shown.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
    };
    const tick = () => {
        const now = performance.now();
        for (const one of document.querySelectorAll("[data-st2-left]")) {
            if (!since.has(one)) {
                since.set(one, now);
            }
            const passed = Math.floor((now - since.get(one)) / 1000);
            one.textContent = clock(Math.max(0, Number(one.dataset.st2Left) - passed));
        }
    };
    document.addEventListener("DOMContentLoaded", tick);
    setInterval(tick, 1000);
})();
