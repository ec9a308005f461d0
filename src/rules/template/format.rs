//! Values as text: Go's `fmt.Sprint`, `Sprintln` and `Sprintf`.
//!
//! A verb that does not fit its value is no fault: the text says so in Go's way (`%!d(string=x)`). Left out are what no alert
//! needs: binary exponents (`%b`, `%x` of floats), Go syntax (`%#v` is `%v`), pointers.

use super::float::format_float;
use super::literal::{quote, quote_char};
use super::value::Value;
use crate::promql::histogram::{Bucket, FloatHistogram};

/// Greatest width and precision; Go's own bound is a million.
const WIDTH_MAX: usize = 10_000;

/// As `{{ }}` writes it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Nothing => "<no value>".to_owned(),
        Value::Sample(_) => plain(value).trim_start_matches('&').to_owned(),
        value => plain(value),
    }
}

/// `%v`
pub(super) fn plain(value: &Value) -> String {
    formatted(value, 'v', &Flags::default())
}

/// All of them, with a space between two of which neither is text.
pub(super) fn sprint(values: &[Value]) -> String {
    let is_text = |value: &Value| matches!(value, Value::Text(_) | Value::Html(_));
    let mut out = String::new();
    for (nth, value) in values.iter().enumerate() {
        if nth > 0 && !is_text(value) && !is_text(&values[nth - 1]) {
            out.push(' ');
        }
        out.push_str(&plain(value));
    }
    out
}

/// All of them with spaces between, and the end of the line.
pub(super) fn sprintln(values: &[Value]) -> String {
    let parts: Vec<String> = values.iter().map(plain).collect();
    parts.join(" ") + "\n"
}

/// By a format.
pub(super) fn sprintf(format: &str, values: &[Value]) -> String {
    let mut printer = Printer { values, next: 0, is_reordered: false, out: String::new() };
    let mut rest = format;
    while let Some((text, directive)) = rest.split_once('%') {
        printer.out.push_str(text);
        rest = printer.directive(directive);
    }
    printer.out.push_str(rest);
    if !printer.is_reordered && printer.next < values.len() {
        let extra: Vec<String> = values[printer.next..].iter().map(typed).collect();
        printer.out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    printer.out
}

/// `type=value`, as Go shows what does not fit.
fn typed(value: &Value) -> String {
    match value {
        Value::Nothing => "<nil>".to_owned(),
        value => format!("{}={}", value.type_name(), plain(value)),
    }
}

#[derive(Clone, Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

struct Printer<'a> {
    values: &'a [Value],
    next: usize,
    /// An index was given: what is left over is meant to be.
    is_reordered: bool,
    out: String,
}

impl Printer<'_> {
    /// What stands behind a `%`; gives the text behind the directive.
    fn directive<'t>(&mut self, text: &'t str) -> &'t str {
        let mut flags = Flags::default();
        let after_flags = text.trim_start_matches(['-', '+', '#', ' ', '0']);
        for flag in text[..text.len() - after_flags.len()].chars() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                _ => flags.zero = true,
            }
        }
        let (mut rest, mut is_index_good) = self.index(after_flags);
        (flags.width, rest) = self.number(rest, "%!(BADWIDTH)");
        if let Some(after) = rest.strip_prefix('.') {
            let (after, good) = self.index(after);
            is_index_good &= good;
            let (precision, after) = self.number(after, "%!(BADPREC)");
            flags.precision = Some(precision.unwrap_or(0));
            rest = after;
        }
        let (rest, good) = self.index(rest);
        let Some(verb) = rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return rest;
        };
        self.verb(verb, &flags, is_index_good && good);
        &rest[verb.len_utf8()..]
    }

    /// `[n]`: the value that comes next, from 1. False where there is none such.
    fn index<'t>(&mut self, text: &'t str) -> (&'t str, bool) {
        let Some((inner, after)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
            return (text, !text.starts_with('['));
        };
        self.is_reordered = true;
        match inner.parse::<usize>().ok().and_then(|index| index.checked_sub(1)) {
            Some(index) if index < self.values.len() => {
                self.next = index;
                (after, true)
            }
            _ => (after, false),
        }
    }

    /// Digits, or `*` for the next value.
    fn number<'t>(&mut self, text: &'t str, fault: &str) -> (Option<usize>, &'t str) {
        if let Some(after) = text.strip_prefix('*') {
            let value = self.values.get(self.next);
            self.next += 1;
            let number = match value {
                Some(Value::Int(number)) => usize::try_from(*number).ok().filter(|number| *number <= WIDTH_MAX),
                _ => None,
            };
            if number.is_none() {
                self.out.push_str(fault);
            }
            return (number, after);
        }
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse().ok().map(|number: usize| number.min(WIDTH_MAX)), &text[end..])
    }

    fn verb(&mut self, verb: char, flags: &Flags, is_index_good: bool) {
        if verb == '%' {
            self.out.push('%');
        } else if !is_index_good {
            self.out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            let text = formatted(value, verb, flags);
            self.out.push_str(&text);
        } else {
            self.out.push_str(&format!("%!{verb}(MISSING)"));
        }
    }
}

/// One value by one verb.
fn formatted(value: &Value, verb: char, flags: &Flags) -> String {
    if verb == 'T' {
        return padded(value.type_name().to_owned(), flags, flags.zero);
    }
    let inner = |value: &Value| formatted(value, verb, flags);
    match value {
        Value::Nothing if verb == 'v' => padded("<nil>".to_owned(), flags, false),
        Value::Bool(value) if matches!(verb, 't' | 'v') => padded(value.to_string(), flags, flags.zero),
        Value::Int(value) => integer(*value, verb, flags).unwrap_or_else(|| misfit(&Value::Int(*value), verb)),
        Value::Byte(byte) => integer((*byte).into(), verb, flags).unwrap_or_else(|| misfit(value, verb)),
        Value::Float(number) => float(*number, verb, flags).unwrap_or_else(|| misfit(value, verb)),
        Value::Text(text) | Value::Html(text) => string(text, verb, flags).unwrap_or_else(|| misfit(value, verb)),
        Value::Time(time) => string(&time.to_string(), verb, flags).unwrap_or_else(|| misfit(value, verb)),
        Value::Histogram(histogram) => {
            string(&histogram_text(histogram), verb, flags).unwrap_or_else(|| misfit(value, verb))
        }
        Value::Labels(labels) => {
            let pair = |(name, value): (&str, &str)| format!("{}:{}", inner(&name.into()), inner(&value.into()));
            format!("map[{}]", labels.iter().map(pair).collect::<Vec<_>>().join(" "))
        }
        Value::Arguments(entries) => {
            let pair = |(name, value): (&String, &Value)| format!("{}:{}", inner(&name.as_str().into()), inner(value));
            format!("map[{}]", entries.iter().map(pair).collect::<Vec<_>>().join(" "))
        }
        Value::Samples(samples) => {
            let all: Vec<String> = samples.iter().map(|sample| inner(&Value::Sample(sample.clone()))).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Sample(_) => format!("&{{{}}}", fields(value, &["Labels", "Value"], inner)),
        Value::Alert(_) => {
            format!("{{{}}}", fields(value, &["Labels", "ExternalLabels", "ExternalURL", "Value"], inner))
        }
        value => misfit(value, verb),
    }
}

fn fields(value: &Value, names: &[&str], inner: impl Fn(&Value) -> String) -> String {
    let all: Vec<String> = names.iter().filter_map(|name| value.field(name)).map(|field| inner(&field.value)).collect();
    all.join(" ")
}

fn misfit(value: &Value, verb: char) -> String {
    format!("%!{verb}({})", typed(value))
}

/// Fills up to the width: with zeros behind the sign, or with spaces.
fn padded(text: String, flags: &Flags, zeros: bool) -> String {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if flags.minus {
        return text + &" ".repeat(missing);
    }
    if !zeros {
        return " ".repeat(missing) + &text;
    }
    let sign = usize::from(text.starts_with(['+', '-', ' ']));
    format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
}

fn integer(value: i64, verb: char, flags: &Flags) -> Option<String> {
    let magnitude = value.unsigned_abs();
    let (prefix, mut digits) = match verb {
        'v' | 'd' => ("", magnitude.to_string()),
        'b' => ("0b", format!("{magnitude:b}")),
        'o' => ("0", format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(value).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            let text = match verb {
                'c' => c.to_string(),
                'q' => quote_char(c),
                _ => format!("U+{:04X}", value),
            };
            return Some(padded(text, flags, false));
        }
        _ => return None,
    };
    if let Some(precision) = flags.precision {
        digits = if precision == 0 && value == 0 { String::new() } else { format!("{digits:0>precision$}") };
    }
    if flags.sharp || verb == 'O' {
        digits.insert_str(0, prefix);
    }
    let text = signed(value < 0, digits, flags);
    Some(padded(text, flags, flags.zero && flags.precision.is_none()))
}

fn signed(is_negative: bool, digits: String, flags: &Flags) -> String {
    match (is_negative, flags.plus, flags.space) {
        (true, ..) => format!("-{digits}"),
        (_, true, _) => format!("+{digits}"),
        (_, _, true) => format!(" {digits}"),
        _ => digits,
    }
}

/// Decimals that `%f` and `%e` write unless told.
const DECIMALS: usize = 6;

fn float(value: f64, verb: char, flags: &Flags) -> Option<String> {
    let text = match verb {
        'v' | 'g' | 'G' => format_float(value, if verb == 'G' { 'G' } else { 'g' }, flags.precision),
        'e' | 'E' | 'f' | 'F' => format_float(value, verb, Some(flags.precision.unwrap_or(DECIMALS))),
        _ => return None,
    };
    if !value.is_finite() {
        let unsigned = text.trim_start_matches(['+', '-']).to_owned();
        let is_bare = value.is_nan() && !flags.plus && !flags.space;
        let flags = Flags { plus: flags.plus || !flags.space, ..flags.clone() };
        let text = if is_bare { unsigned } else { signed(value < 0.0, unsigned, &flags) };
        return Some(padded(text, &flags, false));
    }
    let digits = text.trim_start_matches('-').to_owned();
    Some(padded(signed(value.is_sign_negative(), digits, flags), flags, flags.zero))
}

fn string(text: &str, verb: char, flags: &Flags) -> Option<String> {
    let cut: String = match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    };
    let text = match verb {
        'v' | 's' => cut,
        'q' if flags.sharp && !cut.contains('`') => format!("`{cut}`"),
        'q' => quote(&cut),
        'x' => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        'X' => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        _ => return None,
    };
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.zero && !flags.minus { Some("0".repeat(missing) + &text) } else { Some(padded(text, flags, false)) }
}

/// `{count:3, sum:4.5, (1,2]:3}`
fn histogram_text(histogram: &FloatHistogram) -> String {
    let number = |value: f64| format_float(value, 'g', None);
    let mut text = format!("{{count:{}, sum:{}", number(histogram.count), number(histogram.sum));
    for bucket in histogram.buckets().filter(|bucket: &Bucket| bucket.count != 0.0) {
        let open = if bucket.is_lower_inclusive { '[' } else { '(' };
        let close = if bucket.is_upper_inclusive { ']' } else { ')' };
        let (lower, upper) = (number(bucket.lower), number(bucket.upper));
        text.push_str(&format!(", {open}{lower},{upper}{close}:{}", number(bucket.count)));
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_flags_widths_and_precisions() {
        let (float, int, text) = (Value::Float(1.23456), Value::Int(42), Value::from("né"));
        for (format, value, expected) in [
            ("%.2f", &float, "1.23"),
            ("%8.3f|", &float, "   1.235|"),
            ("%-8.3f|", &float, "1.235   |"),
            ("%08.3f", &float, "0001.235"),
            ("%+.1e", &float, "+1.2e+00"),
            ("%v", &float, "1.23456"),
            ("%d", &float, "%!d(float64=1.23456)"),
            ("%5d|", &int, "   42|"),
            ("%05d", &int, "00042"),
            ("%x %[1]X %#[1]x", &int, "2a 2A 0x2a"),
            ("%t", &int, "%!t(int=42)"),
            ("%s", &text, "né"),
            ("%q", &text, "\"né\""),
            ("%5s|%-5[1]s|", &text, "   né|né   |"),
            ("%x", &text, "6ec3a9"),
            ("%.1s", &text, "n"),
            ("%T %%", &text, "string %"),
            ("%", &text, "%!(NOVERB)%!(EXTRA string=né)"),
            ("%s %s", &text, "né %!s(MISSING)"),
            ("%[3]d", &int, "%!d(BADINDEX)"),
        ] {
            assert_eq!(sprintf(format, std::slice::from_ref(value)), expected, "{format}");
        }
        assert_eq!(sprintf("%*.*f", &[Value::Int(6), Value::Int(1), Value::Float(2.25)]), "   2.2");
        assert_eq!(sprintf("%v %+v", &[Value::Float(f64::INFINITY), Value::Float(f64::NAN)]), "+Inf +NaN");
        assert_eq!(sprintf("%s", &[Value::Nothing]), "%!s(<nil>)");
    }

    #[test]
    fn spaces_stand_between_two_that_are_no_text() {
        let values = [Value::Int(1), Value::Int(2), "a".into(), "b".into(), Value::Int(3)];
        assert_eq!(sprint(&values), "1 2ab3");
        assert_eq!(sprintln(&values), "1 2 a b 3\n");
    }
}
