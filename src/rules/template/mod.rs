//! Templates of alerts' labels and annotations: the part of Go's `text/template` that they use, with the functions and
//! variables that Prometheus 3.5 gives them.
//!
//! Source → `lex` → `parse` → `node` → `eval` over `value`s. A template is read once, when its rule is loaded, and
//! expanded for each alert at each evaluation; text without an action is only copied. Faults have the words that Go has for
//! them, places included, because they stand in annotations where users meet them: `<error expanding template: …>`.

mod builtin;
mod eval;
mod float;
mod format;
mod functions;
mod humanize;
mod lex;
mod literal;
mod node;
mod parse;
mod prometheus;
mod time;
mod value;

use std::collections::BTreeMap;

use crate::model::Labels;
use crate::promql::Cell;

pub(crate) use prometheus::expression_link;
pub use value::Sample;

use node::Statement;
use prometheus::Host;
use value::Value;

/// A number as Go writes it.
pub(crate) fn go_float(value: f64) -> String {
    float::format_float(value, 'g', None)
}

/// The same, always with an exponent.
pub(crate) fn go_float_exponential(value: f64) -> String {
    float::format_float(value, 'e', None)
}

/// Reads a string in `quote`s with Go's escapes.
pub(crate) fn go_unquote(written: &str, quote: char) -> Option<String> {
    literal::unquote_with(written, quote)
}

/// The variables that Prometheus declares in front of every template of an alert. They are part of what is read, so that
/// the places in messages are the same as there.
const PREAMBLE: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                        {{$externalURL := .ExternalURL}}{{$value := .Value}}";
/// Longest template.
const SOURCE_BYTES_MAX: usize = 64 << 10;

/// What an alert's template sees.
pub struct Scope<'a> {
    /// Labels of the sample, the metric's name among them.
    pub labels: &'a Labels,
    /// The site's external labels.
    pub external_labels: &'a Labels,
    /// Where users reach this process; may be empty.
    pub external_url: &'a str,
    /// The sample's value.
    pub value: &'a Cell,
    /// Answers the function `query`, at the evaluation's time.
    pub query: &'a dyn Fn(&str) -> Result<Vec<Sample>, String>,
}

/// Why a template is none, or could not be expanded; the text is Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It does not read.
    #[error("error parsing template {name}: {text}")]
    Parse {
        /// The template's name.
        name: String,
        /// `template: name:line: what`
        text: String,
    },
    /// It reads, but not with these values.
    #[error("error executing template {name}: {text}")]
    Execute {
        /// The template's name.
        name: String,
        /// `template: name:line:column: executing "name" at <node>: what`
        text: String,
    },
}

/// A template that reads.
#[derive(Clone, Debug)]
pub struct Template {
    name: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// Text without an action.
    Plain(String),
    Actions {
        source: String,
        body: Vec<Statement>,
        defined: BTreeMap<String, Vec<Statement>>,
    },
}

impl Template {
    /// Reads a label or an annotation of the alert called `alert`.
    pub fn parse(alert: &str, text: &str) -> Result<Template, TemplateError> {
        let name = format!("__alert_{alert}");
        if !text.contains("{{") {
            return Ok(Template { name, content: Content::Plain(text.to_owned()) });
        }
        if text.len() > SOURCE_BYTES_MAX {
            let text = format!("template: {name}: {} bytes, at most {SOURCE_BYTES_MAX} are read", text.len());
            return Err(TemplateError::Parse { name, text });
        }
        let source = format!("{PREAMBLE}{text}");
        match parse::parse(&name, &source) {
            Ok(parse::Parsed { body, defined }) => {
                Ok(Template { name, content: Content::Actions { source, body, defined } })
            }
            Err(parse::Fault { line, text }) => {
                let text = format!("template: {name}:{line}: {text}");
                Err(TemplateError::Parse { name, text })
            }
        }
    }

    /// The text for one sample.
    pub fn expand(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        match &self.content {
            Content::Plain(text) => Ok(text.clone()),
            Content::Actions { source, body, defined } => {
                eval::expand(&self.name, source, body, defined, Host::new(scope), Value::of_scope(scope))
                    .map_err(|text| TemplateError::Execute { name: self.name.clone(), text })
            }
        }
    }

    /// The text, or what Prometheus puts in its place.
    pub fn expand_or_explain(&self, scope: &Scope<'_>) -> String {
        self.expand(scope).unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let labels = Labels::from_pairs([("instance", "a"), ("job", "node")]);
        let query = |_: &str| Ok(vec![Sample { labels: labels.clone(), value: Cell::Float(1.5) }]);
        let scope = Scope {
            labels: &labels,
            external_labels: &Labels::empty(),
            external_url: "http://h/base",
            value: &Cell::Float(1234.5),
            query: &query,
        };
        Template::parse("A", text).unwrap().expand_or_explain(&scope)
    }

    #[test]
    fn labels_values_queries_and_functions() {
        for (text, expanded) in [
            ("no action }} here", "no action }} here"),
            ("{{ $labels.instance }}: {{ $value | humanize }}", "a: 1.234k"),
            ("{{ with query \"up\" }}{{ . | first | value | printf \"%.2f\" }}{{ end }}", "1.50"),
            ("{{ range $k, $v := .Labels }}{{ $k }}={{ $v }} {{ end }}", "instance=a job=node "),
            ("{{ externalURL }} {{ pathPrefix }}", "http://h/base /base"),
        ] {
            assert_eq!(expand(text), expanded);
        }
    }

    #[test]
    fn faults_stand_in_place_of_the_text() {
        assert_eq!(
            expand("{{ $labels.job.x }}"),
            "<error expanding template: error executing template __alert_A: template: __alert_A:1:122: executing \
             \"__alert_A\" at <$labels.job.x>: can't evaluate field x in type string>"
        );
        let error = Template::parse("A", "{{ nope }}").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error parsing template __alert_A: template: __alert_A:1: function \"nope\" not defined"
        );
    }

    #[test]
    fn an_expansion_ends() {
        for (text, fault) in [
            ("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}", "maximum template depth"),
            ("{{ range 1000 }}{{ range 1000 }}x{{ end }}{{ end }}", "steps"),
            ("{{ range 1000000 }}{{ end }}", "steps"),
            ("{{ $x := \"ab\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}", "text exceeds"),
            ("{{ $x := printf \"%9999d\" 1 }}{{ range 200 }}{{ $x }}{{ end }}", "output exceeds"),
            ("{{ range 101 }}{{ with query \"up\" }}{{ end }}{{ end }}", "more than 100 queries"),
        ] {
            assert!(expand(text).contains(fault), "{text}: {}", expand(text));
        }
        let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
        assert!(Template::parse("A", &deep).is_err());
        assert!(Template::parse("A", &format!("{{{{ 1 }}}}{}", " ".repeat(70_000))).is_err());
    }

    proptest::proptest! {
        /// Whatever stands there, reading and expanding end without a panic.
        #[test]
        fn any_text_is_read_or_refused(parts in proptest::collection::vec("\\{\\{|\\}\\}|\\$[a-z]|\\.[A-Z][a-z]+|if|range|end|else|with|\\(|\\)|\\||\"[%a-z]*\"|print|printf|[0-9.]+|:=|-| |é|\n", 0..24)) {
            let text = parts.concat();
            if Template::parse("A", &text).is_ok() {
                expand(&text);
            }
        }
    }
}
