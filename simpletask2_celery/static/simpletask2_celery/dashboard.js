// Refreshes the dashboard while somebody looks at it. Without scripts the page reloads itself.
"use strict";
(() => {
    const EVERY = 5000; // milliseconds
    const live = document.getElementById("st2-live");
    const button = document.getElementById("st2-pause");
    let paused = false;

    const refresh = async () => {
        if (paused || document.hidden || live.contains(document.activeElement)) {
            return; // a link that has the focus must not go away before it is pressed
        }
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        if (!answer.ok || answer.redirected) {
            return; // signed out, or a server that starts again: what is shown stays
        }
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("st2-live");
        if (fresh && !paused) {
            live.replaceChildren(...fresh.childNodes);
        }
    };
    const again = () => {
        refresh().catch(() => {}).finally(() => setTimeout(again, EVERY));
    };

    button.hidden = false;
    button.addEventListener("click", () => {
        paused = !paused;
        button.textContent = paused ? button.dataset.resume : button.dataset.pause;
    });
    setTimeout(again, EVERY);
})();
