//! A fault of a configuration file: what is wrong, where, and what was expected.

use std::fmt;
use std::path::PathBuf;

/// One fault or warning with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Line and column, both from 1; `None` where the fault is no line's (a missing key of the whole file, an
    /// environment variable).
    pub place: Option<Place>,
    /// The key's path, like `scrape_configs[0].scrape_interval`; empty for the file itself.
    pub key: String,
    /// What was found and what was expected.
    pub message: String,
    /// The spelling that was probably meant.
    pub suggestion: Option<String>,
}

/// A place in a file, with its line's text for the caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// How many characters the caret underlines, at least 1.
    pub width: usize,
    /// The line as it stands in the file.
    pub text: String,
}

/// `file:line:column: key: message`, then the line with a caret under the place.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(meant) = &self.suggestion {
            write!(f, "; did you mean {meant:?}?")?;
        }
        match &self.place {
            Some(place) => place.fmt_caret(f),
            None => Ok(()),
        }
    }
}

impl Place {
    fn fmt_caret(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // A line that was shortened to hide a secret keeps its caret under its end.
        let before = (self.column - 1).min(self.text.chars().count().saturating_sub(self.width));
        // Tabs stay tabs, so that the caret stands under its place however wide the terminal draws them.
        let indent: String = self.text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n {number} | {}\n {margin} | {indent}{}", self.text, "^".repeat(self.width))
    }
}

/// Every fault of a file, in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, fault) in self.0.iter().enumerate() {
            let separator = if nth == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
