// Gives each figure of class "interactive" its controls. The page holds all states of a figure;
// here all but one are hidden, and the controls choose which one is seen.
(() => {
  "use strict";

  const unique = (items) => [...new Set(items)];

  function build(root) {
    const controls = JSON.parse(root.dataset.controls);
    const states = [...root.querySelectorAll("figure")].map((figure) => ({
      figure,
      values: JSON.parse(figure.dataset.state),
    }));
    const chosen = {};
    const form = document.createElement("form");
    form.className = "interactive-controls";
    form.addEventListener("submit", (event) => event.preventDefault());
    const status = document.createElement("p");
    status.className = "interactive-status";
    status.setAttribute("role", "status");

    // What a control can be set to, given the controls before it.
    const choices = (position) =>
      unique(
        states
          .filter(({ values }) =>
            controls.slice(0, position).every(({ key }) => values[key] === chosen[key]),
          )
          .map(({ values }) => values[controls[position].key]),
      );

    function show() {
      const found = states.find(({ values }) =>
        controls.every(({ key }) => values[key] === chosen[key]),
      );
      for (const { figure } of states) figure.hidden = figure !== found.figure;
      status.textContent = found.figure.querySelector("figcaption").textContent;
    }

    function choose(position, value) {
      chosen[controls[position].key] = value;
      // A later control may have other choices now, as strengths of blur and of rotation.
      for (let later = position + 1; later < controls.length; later += 1) {
        const possible = choices(later);
        const { key } = controls[later];
        const before = chosen[key];
        if (!possible.includes(before)) [chosen[key]] = possible;
        parts[later].refresh(possible, chosen[key]);
      }
      show();
    }

    function radios(position, { key, legend }) {
      const box = document.createElement("fieldset");
      box.append(Object.assign(document.createElement("legend"), { textContent: legend }));
      const refresh = (possible, current) => {
        box.querySelectorAll("label").forEach((label) => label.remove());
        for (const value of possible) {
          const label = document.createElement("label");
          const input = Object.assign(document.createElement("input"), {
            type: "radio",
            name: `${root.id}-${key}`,
            value,
            checked: value === current,
          });
          input.addEventListener("change", () => choose(position, value));
          label.append(input, ` ${value}`);
          box.append(label);
        }
      };
      return { box, refresh };
    }

    function menu(position, { legend }) {
      const box = document.createElement("label");
      const select = document.createElement("select");
      box.append(`${legend} `, select);
      select.addEventListener("change", () => choose(position, select.value));
      const refresh = (possible, current) => {
        select.replaceChildren(
          ...possible.map((value) => new Option(value, value, false, value === current)),
        );
      };
      return { box, refresh };
    }

    function slider(position, { legend }) {
      const box = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "range", min: 0 });
      const output = document.createElement("output");
      let values = [];
      const tell = () => {
        output.textContent = values[input.value];
        input.setAttribute("aria-valuetext", values[input.value]);
      };
      box.append(`${legend} `, input, " ", output);
      input.addEventListener("input", () => {
        tell();
        choose(position, values[input.value]);
      });
      const refresh = (possible, current) => {
        values = possible;
        input.max = possible.length - 1;
        input.value = possible.indexOf(current);
        tell();
      };
      return { box, refresh };
    }

    const kinds = { radio: radios, select: menu, range: slider };
    const parts = controls.map((control, position) => kinds[control.kind](position, control));
    for (const { box } of parts) form.append(box);
    root.querySelector("figure").before(form);
    root.append(status);
    root.classList.add("is-live");
    Object.assign(chosen, states[0].values);
    controls.forEach(({ key }, position) => parts[position].refresh(choices(position), chosen[key]));
    show();
  }

  const start = () => document.querySelectorAll(".interactive").forEach(build);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
