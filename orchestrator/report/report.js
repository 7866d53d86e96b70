"use strict";
// A link to a folded test opens it, and the tests can be narrowed to one status.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") {
    target.open = true;
    target.scrollIntoView({ block: "center" });
  }
}
window.addEventListener("hashchange", openTarget);
openTarget();

const tests = [...document.querySelectorAll("details.test")];
const statuses = [...new Set(tests.map((test) => test.querySelector(".badge").textContent))];
const heading = document.querySelector("#tests h2");
if (heading && statuses.length > 1) {
  const bar = document.createElement("div");
  bar.className = "filter";
  for (const status of ["all", ...statuses]) {
    const button = document.createElement("button");
    button.type = "button";
    const count = tests.filter((test) => status === "all" || test.querySelector(".badge").textContent === status);
    button.textContent = `${status} ${count.length}`;
    button.setAttribute("aria-pressed", String(status === "all"));
    button.addEventListener("click", () => {
      for (const other of bar.children) other.setAttribute("aria-pressed", String(other === button));
      for (const test of tests) test.hidden = !count.includes(test);
    });
    bar.append(button);
  }
  heading.after(bar);
}

const axisData = document.getElementById("axis-data");
if (axisData) startAxis(JSON.parse(axisData.textContent));
