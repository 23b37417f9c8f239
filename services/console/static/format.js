// Numbers and times as people read them. A missing value is an en dash.

export const NONE = "–";

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const given = (value) => value !== null && value !== undefined && Number.isFinite(value);

export const count = (value) => (given(value) ? whole.format(value) : NONE);
export const compact = (value) => (given(value) ? short.format(value) : NONE);
export const rate = (value) => (!given(value) ? NONE : value >= 100_000 ? short.format(value) : value >= 10 || value === 0 ? whole.format(value) : value.toFixed(1));
export const millis = (value) => (!given(value) ? NONE : value >= 100 ? whole.format(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2));
export const percent = (share) => (!given(share) ? NONE : share === 0 ? "0" : share < 0.001 ? "<0.1" : (share * 100).toFixed(1));
export const withPercent = (share) => (given(share) ? `${percent(share)} %` : NONE);
export const decimals = (value) => (given(value) ? value.toFixed(3) : NONE);
export const measured = (value) => (!given(value) ? NONE : Math.abs(value) >= 1000 ? whole.format(value) : value.toPrecision(4));

// A record may have any number for a time, and a date only those up to MOST: then the nearest.
const MOST = 8.64e15;
const near = (ms) => (given(ms) ? Math.min(Math.max(ms, -MOST), MOST) : 0);
const part = (options) => {
  const made = new Intl.DateTimeFormat("en-GB", options);
  return { format: (ms) => made.format(near(ms)) };
};
const utcDay = part({ timeZone: "UTC", day: "numeric", month: "short" });
const utcDate = part({ timeZone: "UTC", day: "numeric", month: "short", year: "numeric" });
const utcTime = part({ timeZone: "UTC", hour: "2-digit", minute: "2-digit" });
const localTime = part({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const localMinute = part({ hour: "2-digit", minute: "2-digit" });
const localDay = part({ day: "numeric", month: "short" });

export const eventDay = (ms) => utcDay.format(ms);
export const eventAxis = (ms, step) => (step < 86_400_000 ? utcTime.format(ms) : utcDay.format(ms));
export const eventDate = (ms) => utcDate.format(ms);
export const eventTime = (ms) => (given(ms) ? `${utcDate.format(ms)}, ${utcTime.format(ms)}` : NONE);
export const clock = (ms) => localTime.format(ms);
export const axisClock = (ms, step) => (step < 60_000 ? clock(ms) : localMinute.format(ms));

// A time of today as a time, an older one with its day.
export function when(ms) {
  const today = new Date().toDateString() === new Date(near(ms)).toDateString();
  return today ? clock(ms) : `${localDay.format(ms)}, ${clock(ms)}`;
}

const UNITS = [[86_400_000, "day"], [3_600_000, "hour"], [60_000, "minute"], [1000, "second"]];

export function duration(ms) {
  const [size, name] = UNITS.find(([size]) => ms >= size) ?? UNITS.at(-1);
  const n = Math.round((ms / size) * 10) / 10;
  return `${n} ${name}${n === 1 ? "" : "s"}`;
}

// How fast event time passes, in a second of ours.
export function speed(msPerSecond) {
  if (!given(msPerSecond) || msPerSecond <= 0) return "";
  return msPerSecond < 1500 ? "as fast as ours" : `${duration(msPerSecond)} a second`;
}

// "tumbling_1d" and "sliding_7d_1d" in words, and the time from one such window to the next.
const LETTERS = { d: 86_400_000, h: 3_600_000, min: 60_000, s: 1000 };
const span = (text) => {
  const [, n, unit] = /^(\d+)(d|h|min|s)$/.exec(text) ?? [];
  return n ? Number(n) * LETTERS[unit] : 0;
};

export function windowKind(name) {
  const [kind, length, slide = length] = name.split("_");
  const every = span(slide);
  if (kind === "last") return { text: `last ${length} outcomes`, every };
  const text = kind === "tumbling" ? `each ${duration(span(length)).replace(/^1 /, "")}` : `last ${duration(span(length))}, sliding by ${duration(every)}`;
  return { text, every };
}

// Characters that would hide or turn around what stands beside them are written out.
export const plain = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (hidden) => (hidden === "\n" ? hidden : `\\u${hidden.codePointAt(0).toString(16).padStart(4, "0")}`));

// A version's id without the task's name before its hash.
export function shortVersion(version) {
  const id = version.replace(/^.+-(?=[0-9a-f]{8,}$)/, "");
  return id ? (id.length > 14 ? `${id.slice(0, 12)}…` : id) : "no version";
}
