// The numbers under the pointer. Everything else in the page stands without script.
for (const svg of document.querySelectorAll("svg[data-plot]")) {
  const places = JSON.parse(svg.dataset.plot);
  const pointer = svg.querySelector(".pointer");
  const output = svg.parentElement.querySelector("output");
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const near = places.reduce((best, each) => (Math.abs(each[0] - x) < Math.abs(best[0] - x) ? each : best));
    pointer.setAttribute("x1", near[0]);
    pointer.setAttribute("x2", near[0]);
    pointer.removeAttribute("hidden");
    output.textContent = near[1];
  });
  svg.addEventListener("pointerleave", () => {
    pointer.setAttribute("hidden", "");
    output.textContent = "";
  });
}
