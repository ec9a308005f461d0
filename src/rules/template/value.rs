//! What expressions of a template evaluate to, under the names that Go's types have in messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Scope;
use super::time::Time;
use crate::model::Labels;
use crate::promql::histogram::FloatHistogram;

/// One sample of what a template's query gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// With the metric's name.
    pub labels: Labels,
    /// A number or a native histogram.
    pub value: crate::promql::Cell,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Neither a value nor a type: an absent entry, `nil`.
    Nothing,
    Bool(bool),
    Int(i64),
    /// A byte of a string.
    Byte(u8),
    Float(f64),
    Text(Arc<str>),
    /// Text that `safeHtml` made: a type of its own that functions of text do not take.
    Html(Arc<str>),
    Labels(Arc<Labels>),
    /// What `args` makes.
    Arguments(Arc<BTreeMap<String, Value>>),
    Samples(Arc<[Arc<Sample>]>),
    Sample(Arc<Sample>),
    Time(Time),
    Histogram(Arc<FloatHistogram>),
    /// What an alert's template is given.
    Alert(Arc<Alert>),
}

/// `.Labels`, `.ExternalLabels`, `.ExternalURL` and `.Value`.
#[derive(Debug, PartialEq)]
pub(super) struct Alert {
    labels: Value,
    external_labels: Value,
    external_url: Value,
    value: Value,
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<&crate::promql::Cell> for Value {
    fn from(cell: &crate::promql::Cell) -> Value {
        match cell {
            crate::promql::Cell::Float(value) => Value::Float(*value),
            crate::promql::Cell::Histogram(histogram) => Value::Histogram(histogram.clone()),
        }
    }
}

/// What a field is: its value, and whether Go's type of it is `interface {}` whatever it holds.
pub(super) struct Field {
    pub(super) value: Value,
    pub(super) is_interface: bool,
}

/// How Go names the type of an alert's scope.
const ALERT_TYPE: &str = "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; \
                          Value interface {} }";

impl Value {
    /// What an alert's template is given.
    pub(super) fn of_scope(scope: &Scope<'_>) -> Value {
        Value::Alert(Arc::new(Alert {
            labels: Value::Labels(Arc::new(scope.labels.clone())),
            external_labels: Value::Labels(Arc::new(scope.external_labels.clone())),
            external_url: scope.external_url.into(),
            value: scope.value.into(),
        }))
    }

    /// The name of its type in messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nothing => "<nil>",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Byte(_) => "uint8",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Html(_) => "template.HTML",
            Value::Labels(_) => "map[string]string",
            Value::Arguments(_) => "map[string]interface {}",
            Value::Samples(_) => "template.queryResult",
            Value::Sample(_) => "*template.sample",
            Value::Time(_) => "*time.Time",
            Value::Histogram(_) => "*histogram.FloatHistogram",
            Value::Alert(_) => ALERT_TYPE,
        }
    }

    /// Whether a condition takes it for true: all but zeros and what is empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nothing => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Byte(value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Text(text) | Value::Html(text) => !text.is_empty(),
            Value::Labels(labels) => !labels.is_empty(),
            Value::Arguments(entries) => !entries.is_empty(),
            Value::Samples(samples) => !samples.is_empty(),
            Value::Sample(_) | Value::Time(_) | Value::Histogram(_) | Value::Alert(_) => true,
        }
    }

    /// The field or entry called `name`; `None` where values of this type have no such thing.
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        let typed = |value: Value| Some(Field { value, is_interface: false });
        let interface = |value: Value| Some(Field { value, is_interface: true });
        match (self, name) {
            (Value::Nothing, _) => typed(Value::Nothing),
            (Value::Labels(labels), _) => typed(labels.get(name).unwrap_or_default().into()),
            (Value::Arguments(entries), _) => interface(entries.get(name).cloned().unwrap_or(Value::Nothing)),
            (Value::Alert(alert), "Labels") => typed(alert.labels.clone()),
            (Value::Alert(alert), "ExternalLabels") => typed(alert.external_labels.clone()),
            (Value::Alert(alert), "ExternalURL") => typed(alert.external_url.clone()),
            (Value::Alert(alert), "Value") => interface(alert.value.clone()),
            (Value::Sample(sample), "Labels") => typed(Value::Labels(Arc::new(sample.labels.clone()))),
            (Value::Sample(sample), "Value") => interface((&sample.value).into()),
            (Value::Histogram(histogram), "Count") => typed(Value::Float(histogram.count)),
            (Value::Histogram(histogram), "Sum") => typed(Value::Float(histogram.sum)),
            (Value::Histogram(histogram), "Schema") => typed(Value::Int(i64::from(histogram.schema))),
            (Value::Histogram(histogram), "ZeroCount") => typed(Value::Float(histogram.zero)),
            (Value::Histogram(histogram), "ZeroThreshold") => typed(Value::Float(histogram.zero_threshold)),
            _ => None,
        }
    }
}
