//! Questions with faults: expressions that were cut, torn and mended wrongly, and parameters that are none.
//!
//! Not all of them are refused; what is left of a question after it was mangled can be another good one.

use super::expressions::{Question, question, traits};
use crate::dice::Dice;

/// What is put between the tokens of an expression.
const SCRAPS: [&str; 40] = [
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "`",
    "$",
    "é",
    "#",
    ":",
    "==",
    "=~",
    "!~",
    "=",
    "!",
    "-",
    "^",
    "1h",
    "0x",
    "1e",
    "1.5.2",
    "bool",
    "by",
    "on (job)",
    "without (job)",
    "group_left",
    "offset 1m",
    "offset",
    "@",
    "@ start()",
    "[5m]",
    "[5m:]",
    "and",
    "sum",
    "rate(",
    "\\",
];

/// Values that a parameter may not have, or has seldom. No NaN and nothing infinite: what a Prometheus makes of them depends on
/// its processor.
const PARAMETERS: [(&str, &[&str]); 7] = [
    ("query", &["", " ", "level", "sum(level)", "level[1m]", "\"text\"", "7"]),
    (
        "time",
        &[
            "",
            "yesterday",
            "1e400",
            "-1",
            "1.5e3",
            "2015-07-01T20:10:51.781Z",
            "2015-07-01 20:10:51",
            "99999999999999999",
        ],
    ),
    ("start", &["", "now", "0", "2015-07-01T20:10:51.781+02:00", "9999999999"]),
    ("end", &["", "x", "0", "1", "9999999999"]),
    ("step", &["", "0", "-15", "1e20", "1m30s", "x", "0.0001", "500ms", "1d1h"]),
    ("timeout", &["", "soon", "-1s", "1h", "0x10", "99999999999d"]),
    ("limit", &["", "x", "-2", "0", "1000", "1.5", "99999999999999999999"]),
];

/// An expression, mangled in one to three places.
pub(crate) fn mangled(dice: &mut Dice, start_ms: i64) -> Question {
    let what = dice.of(&traits());
    let mut question = question(dice, what, start_ms);
    for _ in 0..1 + dice.below(3) {
        mangle(dice, &mut question.expression);
    }
    question
}

fn mangle(dice: &mut Dice, expression: &mut String) {
    let places: Vec<usize> = expression.char_indices().map(|(at, _)| at).chain([expression.len()]).collect();
    let at = dice.below(places.len());
    let end = (at + 1 + dice.below(6)).min(places.len() - 1);
    let (from, to) = (places[at], places[end.max(at)]);
    match dice.below(4) {
        0 => expression.replace_range(from..to, ""),
        1 => {
            let again = expression[from..to].to_owned();
            expression.insert_str(from, &again);
        }
        2 => expression.truncate(from),
        _ => expression.insert_str(from, &format!(" {} ", dice.of(&SCRAPS))),
    }
}

/// Parameters of a good question with one or two that are odd, missing or there twice, in their order.
pub(crate) fn odd_parameters(dice: &mut Dice, start_ms: i64, is_range: bool) -> Vec<(&'static str, String)> {
    let seconds = |after: i64| (start_ms / 1000 + after).to_string();
    let mut parameters = vec![("query", "sum by (zone) (level)".to_owned())];
    match is_range {
        true => parameters.extend([("start", seconds(300)), ("end", seconds(420)), ("step", "30".to_owned())]),
        false => parameters.push(("time", seconds(300))),
    }
    for _ in 0..1 + dice.below(2) {
        let (name, values) = dice.of(&PARAMETERS);
        let odd = (name, dice.of(values).to_owned());
        let place = parameters.iter().position(|(own, _)| *own == name);
        match (place, dice.below(6)) {
            (Some(at), 0) => drop(parameters.remove(at)),
            (Some(at), 1) => parameters.insert(at + 1, odd),
            (Some(at), _) => parameters[at] = odd,
            (None, _) => parameters.push(odd),
        }
    }
    parameters
}
