// Shows what each chart has at the time that somebody points at, and the words of a decision.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("moments").textContent);
  const charts = document.querySelector(".charts");
  const plot = charts.querySelector(".plot");
  const outputs = [...charts.querySelectorAll("output")];
  const cursor = charts.querySelector(".cursor");
  const when = charts.querySelector(".when");
  const tip = document.querySelector(".tip");
  const marks = [...charts.querySelectorAll(".mark")];
  const row = charts.querySelector(".marks");
  const count = data.times.length;
  let at = -1;

  function show(number) {
    at = number;
    const isShown = number >= 0;
    cursor.hidden = !isShown;
    when.textContent = isShown ? data.times[number] : "";
    outputs.forEach((output, chart) => {
      output.textContent = isShown ? data.values[chart][number] : output.dataset.summary;
    });
    if (!isShown) return;
    const share = Math.min(1, (number + 0.5) * data.width);
    const frame = charts.getBoundingClientRect(), box = plot.getBoundingClientRect();
    const left = box.left - frame.left - charts.clientLeft + share * box.width;
    cursor.style.left = left + "px";
    const half = when.offsetWidth / 2 + 2;
    when.style.left = Math.min(Math.max(left, half), charts.clientWidth - half) + "px";
  }

  function tell(mark) {
    marks.forEach((other) => other.classList.toggle("near", other === mark));
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.getAttribute("aria-label");
    const box = mark.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    tip.style.left = Math.max(12, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 12)) + "px";
    const above = box.top - tip.offsetHeight - 10;
    tip.style.top = (above < 8 ? box.bottom + 30 : above) + "px";
  }

  // The mark that is nearest to the pointer, in the row of marks.
  function nearest(event) {
    if (!row) return undefined;
    const band = row.getBoundingClientRect();
    if (event.clientY < band.top - 2 || event.clientY > band.bottom + 2) return undefined;
    let best, least = 14;
    for (const mark of marks) {
      const box = mark.getBoundingClientRect();
      const across = Math.abs(box.left + box.width / 2 - event.clientX);
      const distance = across + 0.6 * Math.abs(box.top + box.height / 2 - event.clientY);
      if (across < 14 && distance < least) [best, least] = [mark, distance];
    }
    return best;
  }

  function point(event) {
    const box = plot.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const isInside = share >= 0 && share <= 1 && count > 0;
    show(isInside ? Math.min(count - 1, Math.floor(share / data.width)) : -1);
    tell(nearest(event));
  }

  charts.addEventListener("pointermove", point);
  charts.addEventListener("pointerdown", point);
  charts.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") { show(-1); tell(); }
  });
  // Words stay with the mark that has the focus.
  const follow = () => tell(marks.find((mark) => mark === document.activeElement));
  charts.addEventListener("focusin", follow);
  charts.addEventListener("focusout", () => { tell(); show(-1); });
  addEventListener("scroll", follow, { passive: true });
  addEventListener("resize", () => { follow(); show(at); });

  charts.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") { show(-1); tell(); return; }
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const mark = marks.indexOf(event.target);
    if (mark < 0) {
      show(Math.max(0, Math.min(count - 1, at + step)));
      return;
    }
    const next = marks[Math.max(0, Math.min(marks.length - 1, mark + step))];
    marks[mark].tabIndex = -1;
    next.tabIndex = 0;
    next.focus({ preventScroll: true });
  });
})();
