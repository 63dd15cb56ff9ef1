// Numbers as text, for people.
"use strict";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function count(n) {
  if (n < 10000) return whole.format(n);
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size * 0.9995) return `${(n / size).toFixed(n < size * 99.95 ? 1 : 0).replace(/\.0$/, "")}${unit}`;
  }
}

function perSecond(n) {
  return n === 0 ? "0" : n < 0.05 ? "<0.1" : n < 10 ? n.toFixed(1) : count(Math.round(n));
}

function percent(part) {
  if (part === null) return "–";
  const hundred = part * 100;
  return `${hundred > 99.9 && part < 1 ? Math.min(hundred, 99.99).toFixed(2) : hundred === 0 || hundred === 100 ? hundred : hundred.toFixed(1)} %`;
}

function bytes(n) {
  let unit = "B";
  for (const next of ["KiB", "MiB", "GiB", "TiB"]) {
    if (n < 1000) break;
    n /= 1024;
    unit = next;
  }
  return `${unit === "B" || n >= 100 ? whole.format(n) : n.toFixed(1)} ${unit}`;
}

function time(ns) {
  if (ns === 0) return "0 s";
  for (const [size, unit, next] of [[1, "ns", 1e3], [1e3, "µs", 1e6], [1e6, "ms", 1e9], [1e9, "s", 6e10], [6e10, "min", 3.6e12], [3.6e12, "h", 8.64e13], [8.64e13, "d", Infinity]]) {
    if (ns < next * 0.9995) return `${ns / size < 9.95 && size > 1 ? (ns / size).toFixed(1) : whole.format(ns / size)} ${unit}`;
  }
}

