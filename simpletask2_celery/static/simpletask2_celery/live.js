// Keeps #st2-live fresh while somebody looks at it: all of the dashboard, of a row's page the
// state alone. Fields are not touched. A row's state says itself when it needs no more.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
    const live = document.getElementById("st2-live");
    const button = document.getElementById("st2-pause");
    const said = document.getElementById("st2-said");
    let paused = false;
    if (!live || !live.dataset.every) {
        return;
    }

    const isInUse = () => {
        // A link that the keyboard has reached must not go away before it is pressed, nor text
        // that is selected before it is copied.
        const text = getSelection();
        const isSelected = !text.isCollapsed && live.contains(text.anchorNode);
        return isSelected || live.querySelector(":focus-visible") !== null;
    };
    const refresh = async () => {
        if (paused || document.hidden || isInUse()) {
            return;
        }
        const url = live.dataset.url || location.href;
        const signal = AbortSignal.timeout(10000);
        const answer = await fetch(url, { headers: { Accept: "text/html" }, signal });
        if (!answer.ok || answer.redirected) {
            return; // signed out, or a server that starts again: what is shown stays
        }
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("st2-live");
        if (!fresh || paused || isInUse()) {
            return;
        }
        const badge = fresh.querySelector(".st2-facts > .st2-badge");
        if (said && badge && badge.textContent !== live.querySelector(".st2-badge").textContent) {
            said.textContent = badge.textContent; // which screen readers then say
        }
        for (const one of live.querySelectorAll("details[id]")) {
            const same = page.getElementById(one.id);
            if (same) {
                same.open = one.open; // as somebody has left it
            }
        }
        live.dataset.every = fresh.dataset.every || "";
        live.replaceChildren(...fresh.childNodes);
    };
    const wait = () => {
        if (live.dataset.every) {
            setTimeout(() => refresh().catch(() => {}).finally(wait), Number(live.dataset.every));
        }
    };

    if (button) {
        button.hidden = false;
        button.addEventListener("click", () => {
            paused = !paused;
            button.textContent = paused ? button.dataset.resume : button.dataset.pause;
        });
    }
    wait();
});
