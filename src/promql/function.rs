//! The functions by name, and what they take and return: Prometheus 3.5's list.

use super::ast::ValueType;

/// A function of PromQL 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the function of that name")]
pub enum Function {
    Abs,
    Absent,
    AbsentOverTime,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    AvgOverTime,
    Ceil,
    Changes,
    Clamp,
    ClampMax,
    ClampMin,
    Cos,
    Cosh,
    CountOverTime,
    DaysInMonth,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Deg,
    Delta,
    Deriv,
    DoubleExponentialSmoothing,
    Exp,
    Floor,
    HistogramAvg,
    HistogramCount,
    HistogramFraction,
    HistogramQuantile,
    HistogramStddev,
    HistogramStdvar,
    HistogramSum,
    Hour,
    Idelta,
    Increase,
    Info,
    Irate,
    LabelJoin,
    LabelReplace,
    LastOverTime,
    Ln,
    Log10,
    Log2,
    MadOverTime,
    MaxOverTime,
    MinOverTime,
    Minute,
    Month,
    Pi,
    PredictLinear,
    PresentOverTime,
    QuantileOverTime,
    Rad,
    Rate,
    Resets,
    Round,
    Scalar,
    Sgn,
    Sin,
    Sinh,
    Sort,
    SortByLabel,
    SortByLabelDesc,
    SortDesc,
    Sqrt,
    StddevOverTime,
    StdvarOverTime,
    SumOverTime,
    Tan,
    Tanh,
    Time,
    Timestamp,
    TsOfLastOverTime,
    TsOfMaxOverTime,
    TsOfMinOverTime,
    Vector,
    Year,
}

/// All of them, by name in byte order.
const NAMES: [(&str, Function); 80] = [
    ("abs", Function::Abs),
    ("absent", Function::Absent),
    ("absent_over_time", Function::AbsentOverTime),
    ("acos", Function::Acos),
    ("acosh", Function::Acosh),
    ("asin", Function::Asin),
    ("asinh", Function::Asinh),
    ("atan", Function::Atan),
    ("atanh", Function::Atanh),
    ("avg_over_time", Function::AvgOverTime),
    ("ceil", Function::Ceil),
    ("changes", Function::Changes),
    ("clamp", Function::Clamp),
    ("clamp_max", Function::ClampMax),
    ("clamp_min", Function::ClampMin),
    ("cos", Function::Cos),
    ("cosh", Function::Cosh),
    ("count_over_time", Function::CountOverTime),
    ("day_of_month", Function::DayOfMonth),
    ("day_of_week", Function::DayOfWeek),
    ("day_of_year", Function::DayOfYear),
    ("days_in_month", Function::DaysInMonth),
    ("deg", Function::Deg),
    ("delta", Function::Delta),
    ("deriv", Function::Deriv),
    ("double_exponential_smoothing", Function::DoubleExponentialSmoothing),
    ("exp", Function::Exp),
    ("floor", Function::Floor),
    ("histogram_avg", Function::HistogramAvg),
    ("histogram_count", Function::HistogramCount),
    ("histogram_fraction", Function::HistogramFraction),
    ("histogram_quantile", Function::HistogramQuantile),
    ("histogram_stddev", Function::HistogramStddev),
    ("histogram_stdvar", Function::HistogramStdvar),
    ("histogram_sum", Function::HistogramSum),
    ("hour", Function::Hour),
    ("idelta", Function::Idelta),
    ("increase", Function::Increase),
    ("info", Function::Info),
    ("irate", Function::Irate),
    ("label_join", Function::LabelJoin),
    ("label_replace", Function::LabelReplace),
    ("last_over_time", Function::LastOverTime),
    ("ln", Function::Ln),
    ("log10", Function::Log10),
    ("log2", Function::Log2),
    ("mad_over_time", Function::MadOverTime),
    ("max_over_time", Function::MaxOverTime),
    ("min_over_time", Function::MinOverTime),
    ("minute", Function::Minute),
    ("month", Function::Month),
    ("pi", Function::Pi),
    ("predict_linear", Function::PredictLinear),
    ("present_over_time", Function::PresentOverTime),
    ("quantile_over_time", Function::QuantileOverTime),
    ("rad", Function::Rad),
    ("rate", Function::Rate),
    ("resets", Function::Resets),
    ("round", Function::Round),
    ("scalar", Function::Scalar),
    ("sgn", Function::Sgn),
    ("sin", Function::Sin),
    ("sinh", Function::Sinh),
    ("sort", Function::Sort),
    ("sort_by_label", Function::SortByLabel),
    ("sort_by_label_desc", Function::SortByLabelDesc),
    ("sort_desc", Function::SortDesc),
    ("sqrt", Function::Sqrt),
    ("stddev_over_time", Function::StddevOverTime),
    ("stdvar_over_time", Function::StdvarOverTime),
    ("sum_over_time", Function::SumOverTime),
    ("tan", Function::Tan),
    ("tanh", Function::Tanh),
    ("time", Function::Time),
    ("timestamp", Function::Timestamp),
    ("ts_of_last_over_time", Function::TsOfLastOverTime),
    ("ts_of_max_over_time", Function::TsOfMaxOverTime),
    ("ts_of_min_over_time", Function::TsOfMinOverTime),
    ("vector", Function::Vector),
    ("year", Function::Year),
];

/// What a function takes and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The arguments' types. The last one is also that of all beyond.
    pub args: &'static [ValueType],
    /// How many may be given.
    pub arity: Arity,
    /// What comes back.
    pub returns: ValueType,
    /// Behind Prometheus's feature flag `promql-experimental-functions`.
    pub is_experimental: bool,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// One for each type.
    Exact,
    /// The last one may be missing.
    LastOptional,
    /// Of the last one none or any number.
    LastRepeated,
}

impl Signature {
    const fn of(args: &'static [ValueType]) -> Signature {
        Signature { args, arity: Arity::Exact, returns: ValueType::Vector, is_experimental: false }
    }

    const fn arity(self, arity: Arity) -> Signature {
        Signature { arity, ..self }
    }

    const fn returning(self, returns: ValueType) -> Signature {
        Signature { returns, ..self }
    }

    const fn experimental(self) -> Signature {
        Signature { is_experimental: true, ..self }
    }
}

impl Function {
    /// What it takes and returns.
    pub fn signature(self) -> Signature {
        use ValueType::{Matrix, Scalar, String, Vector};
        match self {
            Function::Time | Function::Pi => Signature::of(&[]).returning(Scalar),
            Function::Scalar => Signature::of(&[Vector]).returning(Scalar),
            Function::Vector => Signature::of(&[Scalar]),
            Function::Clamp => Signature::of(&[Vector, Scalar, Scalar]),
            Function::ClampMax | Function::ClampMin => Signature::of(&[Vector, Scalar]),
            Function::Round => Signature::of(&[Vector, Scalar]).arity(Arity::LastOptional),
            Function::LabelReplace => Signature::of(&[Vector, String, String, String, String]),
            Function::LabelJoin => Signature::of(&[Vector, String, String, String]).arity(Arity::LastRepeated),
            Function::HistogramFraction => Signature::of(&[Scalar, Scalar, Vector]),
            Function::HistogramQuantile => Signature::of(&[Scalar, Vector]),
            Function::PredictLinear => Signature::of(&[Matrix, Scalar]),
            Function::QuantileOverTime => Signature::of(&[Scalar, Matrix]),
            Function::DoubleExponentialSmoothing => Signature::of(&[Matrix, Scalar, Scalar]).experimental(),
            Function::Info => Signature::of(&[Vector, Vector]).arity(Arity::LastOptional).experimental(),
            Function::SortByLabel | Function::SortByLabelDesc => {
                Signature::of(&[Vector, String]).arity(Arity::LastRepeated).experimental()
            }
            _ if self.is_date() => Signature::of(&[Vector]).arity(Arity::LastOptional),
            _ if self.is_over_range() => {
                let of_range = Signature::of(&[Matrix]);
                if self.is_new() { of_range.experimental() } else { of_range }
            }
            _ => Signature::of(&[Vector]),
        }
    }

    /// A part of a date, of the evaluation's time where nothing else is given.
    fn is_date(self) -> bool {
        use Function::{DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Minute, Month, Year};
        matches!(self, DayOfMonth | DayOfWeek | DayOfYear | DaysInMonth | Hour | Minute | Month | Year)
    }

    /// Its only argument is a range of samples.
    fn is_over_range(self) -> bool {
        use Function::{Changes, Delta, Deriv, Idelta, Increase, Irate, Rate, Resets};
        matches!(self, Changes | Delta | Deriv | Idelta | Increase | Irate | Rate | Resets)
            || self.name().ends_with("_over_time")
    }

    /// An experimental one over a range.
    fn is_new(self) -> bool {
        use Function::{MadOverTime, TsOfLastOverTime, TsOfMaxOverTime, TsOfMinOverTime};
        matches!(self, MadOverTime | TsOfLastOverTime | TsOfMaxOverTime | TsOfMinOverTime)
    }

    /// The function called `name`.
    pub fn by_name(name: &str) -> Option<Function> {
        NAMES.binary_search_by(|(own, _)| (*own).cmp(name)).ok().map(|at| NAMES[at].1)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_under_its_name() {
        for (name, function) in NAMES {
            assert_eq!((Function::by_name(name), function.name()), (Some(function), name));
        }
        assert_eq!(Function::by_name("nope"), None);
    }
}
