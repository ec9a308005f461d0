//! A template's text cut into tokens, as Go's `text/template` cuts it.
//!
//! Invariant: the tokens end with exactly one [`Kind::Eof`] or [`Kind::Error`], and nothing stands behind it. Spaces inside an
//! action are tokens, because they part arguments; comments are none.

/// What a token is. Keywords stand last and are written `<if>` in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Eof,
    Text,
    Space,
    LeftDelim,
    RightDelim,
    LeftParen,
    RightParen,
    Pipe,
    Assign,
    Declare,
    Char,
    Bool,
    Number,
    CharConstant,
    String,
    RawString,
    Identifier,
    Field,
    Variable,
    Dot,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Kind {
    fn is_keyword(self) -> bool {
        use Kind::*;
        matches!(self, Dot | Nil | Block | Break | Continue | Define | Else | End | If | Range | Template | With)
    }
}

/// One token.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Byte of the source where it starts.
    pub(super) at: usize,
    /// Line of its start, from 1.
    pub(super) line: usize,
    /// What it is written as; of an error, what is wrong.
    pub(super) text: String,
}

impl Token {
    /// How messages name it.
    pub(super) fn shown(&self) -> String {
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => self.text.clone(),
            kind if kind.is_keyword() => format!("<{}>", self.text),
            _ if self.text.chars().count() > SHOWN_CHARS_MAX => {
                let start: String = self.text.chars().take(SHOWN_CHARS_MAX).collect();
                format!("{}...", super::literal::quote(&start))
            }
            _ => super::literal::quote(&self.text),
        }
    }
}

/// Longest piece of a token in a message.
const SHOWN_CHARS_MAX: usize = 10;
const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const COMMENT_START: &str = "/*";
const COMMENT_END: &str = "*/";
/// Length of a trim mark: the minus and the space beside it.
const TRIM: usize = 2;
const DIGITS: &[u8] = b"0123456789_";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// Cuts a whole template.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { source, at: 0, line: 1, counted: 0, open_parens: 0, tokens: Vec::new() };
    while lexer.text() {
        while lexer.inside() {}
        if lexer.tokens.last().is_some_and(|last| last.kind == Kind::Error) {
            return lexer.tokens;
        }
    }
    lexer.tokens
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    /// Line of the byte `counted`.
    line: usize,
    counted: usize,
    open_parens: usize,
    tokens: Vec<Token>,
}

fn is_space(c: char) -> bool {
    SPACES.contains(&c)
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn trims_left(after_delim: &str) -> bool {
    after_delim.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}

fn trims_right(rest: &str) -> bool {
    rest.starts_with(SPACES) && rest[1..].starts_with('-')
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn line_of(&mut self, at: usize) -> usize {
        self.line += self.source[self.counted..at].matches('\n').count();
        self.counted = at;
        self.line
    }

    /// A token of the next `length` bytes.
    fn emit(&mut self, kind: Kind, length: usize) -> bool {
        let (at, line) = (self.at, self.line_of(self.at));
        self.at += length;
        self.tokens.push(Token { kind, at, line, text: self.source[at..self.at].to_owned() });
        true
    }

    fn fail(&mut self, start: usize, text: impl Into<String>) -> bool {
        let line = self.line_of(start);
        self.tokens.push(Token { kind: Kind::Error, at: start, line, text: text.into() });
        false
    }

    /// Text up to the next action, which is then begun; false behind the last one.
    fn text(&mut self) -> bool {
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(LEFT) else {
                if !rest.is_empty() {
                    self.emit(Kind::Text, rest.len());
                }
                self.emit(Kind::Eof, 0);
                return false;
            };
            let trims = trims_left(&rest[length + LEFT.len()..]);
            let kept = if trims { rest[..length].trim_end_matches(SPACES).len() } else { length };
            if kept > 0 {
                self.emit(Kind::Text, kept);
            }
            self.at += length - kept;
            let marks = LEFT.len() + if trims { TRIM } else { 0 };
            if !self.rest()[marks..].starts_with(COMMENT_START) {
                self.emit(Kind::LeftDelim, LEFT.len());
                self.at += marks - LEFT.len();
                self.open_parens = 0;
                return true;
            }
            if !self.comment(marks) {
                return false;
            }
        }
    }

    fn comment(&mut self, marks: usize) -> bool {
        let start = self.at;
        let body = marks + COMMENT_START.len();
        let Some(length) = self.rest()[body..].find(COMMENT_END) else {
            return self.fail(start, "unclosed comment");
        };
        self.at += body + length + COMMENT_END.len();
        match self.right_delim() {
            None => self.fail(start, "comment ends before closing delimiter"),
            Some(trims) => {
                self.at += RIGHT.len() + if trims { TRIM } else { 0 };
                self.skip_trimmed(trims);
                true
            }
        }
    }

    /// Whether an action ends here, and whether its end trims.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if trims_right(rest) && rest[TRIM..].starts_with(RIGHT) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn skip_trimmed(&mut self, trims: bool) {
        if trims {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(SPACES).len();
        }
    }

    /// One token inside an action; false when the action or everything ends.
    fn inside(&mut self) -> bool {
        if let Some(trims) = self.right_delim() {
            if self.open_parens > 0 {
                return self.fail(self.at, "unclosed left paren");
            }
            self.at += if trims { TRIM } else { 0 };
            self.emit(Kind::RightDelim, RIGHT.len());
            self.skip_trimmed(trims);
            return false;
        }
        let Some(c) = self.peek() else { return self.fail(self.at, "unclosed action") };
        match c {
            c if is_space(c) => self.space(),
            '=' => self.emit(Kind::Assign, 1),
            ':' if self.rest().starts_with(":=") => self.emit(Kind::Declare, 2),
            ':' => self.fail(self.at, "expected :="),
            '|' => self.emit(Kind::Pipe, 1),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => self.raw_string(),
            '$' => self.name(Kind::Variable),
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.name(Kind::Field),
            '(' => {
                self.open_parens += 1;
                self.emit(Kind::LeftParen, 1)
            }
            ')' if self.open_parens == 0 => self.fail(self.at, "unexpected right paren"),
            ')' => {
                self.open_parens -= 1;
                self.emit(Kind::RightParen, 1)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            c if is_alphanumeric(c) => self.identifier(),
            ' '..='~' => self.emit(Kind::Char, 1),
            c => {
                let shown = if c.is_control() { String::new() } else { format!(" '{c}'") };
                self.fail(self.at, format!("unrecognized character in action: U+{:04X}{shown}", u32::from(c)))
            }
        }
    }

    /// A run of spaces, without the last one where that belongs to a trimming end.
    fn space(&mut self) -> bool {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(SPACES).len();
        let last = length - 1;
        if trims_right(&rest[last..]) && rest[last + TRIM..].starts_with(RIGHT) {
            length = last;
        }
        self.emit(Kind::Space, length)
    }

    fn quoted(&mut self, end: char, kind: Kind, fault: &str) -> bool {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == end => return self.emit(kind, at + 1),
                _ => {}
            }
        }
        self.fail(self.at, fault)
    }

    fn raw_string(&mut self) -> bool {
        match self.rest()[1..].find('`') {
            Some(length) => self.emit(Kind::RawString, length + 2),
            None => self.fail(self.at, "unterminated raw quoted string"),
        }
    }

    /// Bytes of the name that starts `skipped` bytes on.
    fn name_length(&self, skipped: usize) -> usize {
        let rest = &self.rest()[skipped..];
        rest.find(|c| !is_alphanumeric(c)).unwrap_or(rest.len())
    }

    /// `.field` or `$variable`; a sign alone is the dot or the whole scope.
    fn name(&mut self, kind: Kind) -> bool {
        let length = self.name_length(1);
        let kind = if kind == Kind::Field && length == 0 { Kind::Dot } else { kind };
        self.terminated(kind, 1 + length)
    }

    fn identifier(&mut self) -> bool {
        let length = self.name_length(0);
        let kind = match &self.rest()[..length] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "range" => Kind::Range,
            "template" => Kind::Template,
            "with" => Kind::With,
            _ => Kind::Identifier,
        };
        self.terminated(kind, length)
    }

    /// Emits a name if what follows may follow one.
    fn terminated(&mut self, kind: Kind, length: usize) -> bool {
        let after = &self.rest()[length..];
        match after.chars().next() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => self.emit(kind, length),
            Some(c) if is_space(c) || after.starts_with(RIGHT) => self.emit(kind, length),
            Some(c) => self.fail(self.at, format!("bad character U+{:04X} '{c}'", u32::from(c))),
        }
    }

    fn number(&mut self) -> bool {
        let rest = self.rest();
        let length = number_length(rest);
        match rest[length..].chars().next() {
            Some(c) if is_alphanumeric(c) => {
                let shown = super::literal::quote(&rest[..length + c.len_utf8()]);
                self.fail(self.at, format!("bad number syntax: {shown}"))
            }
            _ => self.emit(Kind::Number, length),
        }
    }
}

/// Bytes of the longest start that looks like a number; its meaning is checked where it is read.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let one_of = |at: usize, set: &[u8]| bytes.get(at).is_some_and(|byte| set.contains(byte));
    let run = |mut at: usize, set: &[u8]| {
        while one_of(at, set) {
            at += 1;
        }
        at
    };
    let mut at = usize::from(one_of(0, b"+-"));
    let (mut digits, mut exponent): (&[u8], &[u8]) = (DIGITS, b"eE");
    if one_of(at, b"0") {
        at += 1;
        match bytes.get(at) {
            Some(b'x' | b'X') => (digits, exponent) = (b"0123456789abcdefABCDEF_", b"pP"),
            Some(b'o' | b'O') => (digits, exponent) = (b"01234567_", b""),
            Some(b'b' | b'B') => (digits, exponent) = (b"01_", b""),
            _ => {}
        }
        at += usize::from(one_of(at, b"xXoObB"));
    }
    at = run(at, digits);
    if one_of(at, b".") {
        at = run(at + 1, digits);
    }
    if one_of(at, exponent) {
        at += 1;
        at += usize::from(one_of(at, b"+-"));
        at = run(at, DIGITS);
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<(Kind, String)> {
        tokens(source).into_iter().map(|token| (token.kind, token.text)).collect()
    }

    fn token(kind: Kind, text: &str) -> (Kind, String) {
        (kind, text.to_owned())
    }

    #[test]
    fn trim_marks_take_the_spaces_beside_the_action() {
        let expected = [
            token(Kind::Text, "a"),
            token(Kind::LeftDelim, "{{"),
            token(Kind::Field, ".x"),
            token(Kind::RightDelim, "}}"),
            token(Kind::Text, "b"),
            token(Kind::Eof, ""),
        ];
        assert_eq!(kinds("a \n{{- .x -}} \t b"), expected);
        assert_eq!(kinds("a{{/* no {{ */}} b").len(), 3, "a comment is no token");
        assert_eq!(
            kinds("a {{- /* no */ -}} b"),
            [token(Kind::Text, "a"), token(Kind::Text, "b"), token(Kind::Eof, "")]
        );
    }

    #[test]
    fn what_is_wrong_ends_the_tokens_and_says_where() {
        for (source, text) in [
            ("{{", "unclosed action"),
            ("{{/* a", "unclosed comment"),
            ("{{/* a */ b}}", "comment ends before closing delimiter"),
            ("{{\"a}}", "unterminated quoted string"),
            ("{{`a}}", "unterminated raw quoted string"),
            ("{{(a}}", "unclosed left paren"),
            ("{{a)}}", "unexpected right paren"),
            ("{{3k}}", "bad number syntax: \"3k\""),
            ("{{$a:b}}", "expected :="),
            ("{{.a$}}", "bad character U+0024 '$'"),
            ("{{a \u{1}}}", "unrecognized character in action: U+0001"),
        ] {
            let last = tokens(source).pop().unwrap();
            assert_eq!((last.kind, last.text.as_str()), (Kind::Error, text), "{source}");
        }
        assert_eq!(tokens("a\nb{{\n}").pop().unwrap().line, 3);
    }
}
