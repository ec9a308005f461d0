//! Replacement templates: `$1`, `${1}`, `$name`, `${name}`, `$$`, as Go's `regexp.Expand` reads them.
//!
//! A name is the longest run of letters, digits and underscores, so `$1x` is the group named `1x`, which is nobody's, and
//! gives nothing. A `$` that begins no name stands for itself.

use regex_automata::PatternID;
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;

/// A template with its groups looked up in the pattern that it belongs to.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    /// Reads a template for a pattern; groups that the pattern lacks expand to nothing.
    pub fn new(text: &str, regex: &Regex) -> Template {
        let mut template = Template { parts: Vec::new() };
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            template.push_text(before);
            rest = match (after.strip_prefix('$'), split_name(after)) {
                (Some(escaped), _) => {
                    template.push_text("$");
                    escaped
                }
                (None, Some((name, after_name))) => {
                    template.parts.extend(group_of(name, regex).map(Part::Group));
                    after_name
                }
                (None, None) => {
                    template.push_text("$");
                    after
                }
            };
        }
        template.push_text(rest);
        template
    }

    /// Whether it needs no groups: its text is the whole expansion.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text with the groups' matches put in; groups that did not take part are empty.
    pub fn expand(&self, haystack: &str, captures: &Captures) -> String {
        let text_of = |part: &'_ Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(group) => {
                captures.get_group(*group).map_or_else(String::new, |span| haystack[span.range()].to_owned())
            }
        };
        self.parts.iter().map(text_of).collect()
    }

    fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            _ if text.is_empty() => {}
            Some(Part::Text(last)) => last.push_str(text),
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }
}

/// All matches of `regex` in `haystack` replaced by what `template` expands to, as Go's `ReplaceAllString` does.
pub fn replace_all(regex: &Regex, template: &str, haystack: &str) -> String {
    let template = Template::new(template, regex);
    let (mut out, mut copied) = (String::new(), 0);
    for captures in regex.captures_iter(haystack) {
        let Some(found) = captures.get_match() else { continue };
        out.push_str(&haystack[copied..found.start()]);
        out.push_str(&template.expand(haystack, &captures));
        copied = found.end();
    }
    out + &haystack[copied..]
}

/// Splits off the name after a `$`, with or without braces; `None` where no name stands there.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let (name_on, braced) = match text.strip_prefix('{') {
        Some(inner) => (inner, true),
        None => (text, false),
    };
    let end = name_on.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(name_on.len());
    let (name, after) = name_on.split_at(end);
    match (name.is_empty(), braced) {
        (true, _) => None,
        (false, true) => after.strip_prefix('}').map(|after| (name, after)),
        (false, false) => Some((name, after)),
    }
}

/// Groups go by number (without leading zeros) or by name.
fn group_of(name: &str, regex: &Regex) -> Option<usize> {
    let groups = regex.group_info();
    let is_number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    match is_number {
        true => name.parse().ok().filter(|group| *group < groups.group_len(PatternID::ZERO)),
        false => groups.to_index(PatternID::ZERO, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::anchored_regex;

    fn expand(template: &str) -> String {
        let regex = anchored_regex("(a+)(?P<word>b+)(c+)?").unwrap();
        let mut captures = regex.create_captures();
        regex.captures("aabb", &mut captures);
        Template::new(template, &regex).expand("aabb", &captures)
    }

    #[test]
    fn groups_go_by_number_or_name() {
        for (template, expanded) in [
            ("$1-$2", "aa-bb"),
            ("${1}x", "aax"),
            ("$1x", ""),
            ("$word/${word}", "bb/bb"),
            ("$0", "aabb"),
            ("<$3>", "<>"),
            ("<$4$9$nobody>", "<>"),
            ("$01", ""),
        ] {
            assert_eq!(expand(template), expanded, "{template}");
        }
    }

    #[test]
    fn a_dollar_that_begins_no_name_stands_for_itself() {
        for (template, expanded) in [
            ("$$1", "$1"),
            ("$", "$"),
            ("a$", "a$"),
            ("$-1", "$-1"),
            ("${1", "${1"),
            ("${}", "${}"),
            ("${1-}", "${1-}"),
        ] {
            assert_eq!(expand(template), expanded, "{template}");
        }
    }

    proptest::proptest! {
        /// Text without a dollar is itself, doubled dollars are single ones, and no template panics.
        #[test]
        fn any_text_is_a_template(text in "[${}0-9a-c_é]{0,12}") {
            expand(&text);
            let plain = text.replace('$', "");
            proptest::prop_assert_eq!(expand(&plain), plain);
            proptest::prop_assert_eq!(expand(&text.replace('$', "$$")), text);
        }
    }
}
