// Words and figures for people. Pure: no page, no clock of its own.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value) => (Number.isFinite(value) ? WHOLE.format(value) : "–");
export const brief = (value) => (value < 10_000 ? WHOLE.format(value) : SHORT.format(value));
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0 || value >= 10) return count(Math.round(value));
  return value < 0.1 ? "< 0.1" : value.toFixed(1);
}

export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let left = value;
  while (left >= 1024 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${at && left < 100 ? left.toFixed(1) : count(Math.round(left))} ${units[at]}`;
}

export function seconds(value) {
  if (!Number.isFinite(value)) return "–";
  if (value < 0.0005) return "0 s";
  if (value < 0.995) return `${Math.max(1, Math.round(value * 1000))} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const [big, small, per] =
    whole < 3600 ? ["min", "s", 60] : whole < 86_400 ? ["h", "min", 3600] : ["d", "h", 86_400];
  const rest = Math.floor((whole % per) / (per === 60 ? 1 : per === 3600 ? 60 : 3600));
  return `${Math.floor(whole / per)} ${big}${rest ? ` ${rest} ${small}` : ""}`;
}

// Milliseconds since 1970 of a time of the API, which may have more than three decimals; or NaN.
export const moment = (text) =>
  typeof text === "string" ? Date.parse(text.replace(" ", "T").replace(/(\.\d{3})\d+/, "$1")) : NaN;

const two = (value) => String(value).padStart(2, "0");

export const clock = (at) => {
  const time = new Date(at);
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
};

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

export const day = (at) => {
  const time = new Date(at);
  return `${time.getDate()} ${MONTHS[time.getMonth()]}`;
};

// The time of day; the date too where it is not today, and the year where it is not this one.
export function when(at, now) {
  if (!Number.isFinite(at)) return "–";
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  if (isToday) return clock(at);
  const year = new Date(at).getFullYear();
  return `${day(at)}${year === new Date(now).getFullYear() ? "" : ` ${year}`} ${clock(at)}`;
}

export const offset = (at) => {
  const minutes = -new Date(at).getTimezoneOffset();
  if (!minutes) return "UTC";
  const size = Math.abs(minutes);
  const rest = size % 60 ? `:${two(size % 60)}` : "";
  return `UTC${minutes < 0 ? "−" : "+"}${Math.floor(size / 60)}${rest}`;
};

// What a bucket of a chart is called: its local hour, or its day in UTC, as the server cuts days.
export function bucket(at, window) {
  if (window === "24h") return `${two(new Date(at).getHours())}:00`;
  const time = new Date(at);
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]}`;
}

const BASE64 = /^[A-Za-z0-9_-]+$/;

// What the claims of a token say, to be shown only: the server is who decides.
export function readToken(text) {
  const token = text.trim().replace(/^(authorization:\s*)?bearer\s+/i, "");
  if (!token) return { problem: "Paste a token first. `sluice token demo` prints one." };
  if (/^[sp]k_/.test(token)) {
    return {
      problem:
        "This is an API key, which only writes events. The console reads with a token:" +
        " `sluice token demo` prints one.",
    };
  }
  const parts = token.split(".");
  if (parts.length !== 3 || !parts.every((part) => BASE64.test(part))) {
    return { problem: "This is not a whole token. Copy all of what `sluice token` printed." };
  }
  try {
    const binary = atob(parts[1].replace(/-/g, "+").replace(/_/g, "/"));
    const raw = Uint8Array.from(binary, (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(raw));
    if (!claims || typeof claims !== "object") throw new TypeError("no object");
    const scope = claims.scope;
    return {
      token,
      expiresAt: Number.isFinite(claims.exp) ? claims.exp * 1000 : null,
      // A token without scopes, as identity providers give, may do both.
      mayRun: scope === undefined || (typeof scope === "string" && scope.split(" ").includes("runs")),
    };
  } catch {
    return { problem: "This is not a whole token. Copy all of what `sluice token` printed." };
  }
}

// The top of a scale at or above the highest value; its half is a round figure, too.
export function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((top) => top >= value);
}
