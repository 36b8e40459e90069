//! The value of `sasl.jaas.config`: a login module, how it counts, and its options.
//!
//! Read as Java's `StreamTokenizer` reads it for Kafka: texts in double or single quotes with the escapes
//! of C, words without, comments of C and C++.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::secret::Secret;

/// One login module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login {
    /// The class.
    pub(super) module: String,
    /// Its options; of one given twice the later counts.
    pub(super) options: BTreeMap<String, Secret>,
}

/// Why the line is not understood. None of it is shown, since it holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JaasError {
    /// It ends too early.
    #[error("ends without a semicolon; write MODULE required username=\"…\" password=\"…\";")]
    NoEnd,
    /// The word after the module.
    #[error("after the login module must stand required, requisite, sufficient or optional")]
    Flag,
    /// An option, counted from 1, is not NAME=VALUE.
    #[error("option {0} is not NAME=\"VALUE\"; a quote in a value is written \\\"")]
    NoValue(usize),
    /// A text in quotes does not end.
    #[error("a text in quotes does not end on its line; a quote in it is written \\\"")]
    OpenQuote,
    /// More than one.
    #[error("names more than one login module; keep one")]
    Several,
    /// The module is none that can be used.
    #[error(
        "{0} is not supported; use org.apache.kafka.common.security.plain.PlainLoginModule or \
         org.apache.kafka.common.security.scram.ScramLoginModule"
    )]
    Module(String),
    /// The module does not go with the mechanism.
    #[error("{module} does not go with sasl.mechanism={mechanism}; change one of them")]
    Mechanism {
        /// The class.
        module: String,
        /// What is given.
        mechanism: String,
    },
    /// An option that the module needs.
    #[error("{module} needs the option {option}")]
    Lacks {
        /// The class.
        module: String,
        /// The option.
        option: &'static str,
    },
    /// Tokens that brokers give out.
    #[error("tokenauth: delegation tokens are not supported; use a user and a password")]
    DelegationToken,
}

/// Java's words, in any case.
const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];

impl Login {
    pub(super) fn parse(text: &str) -> Result<Self, JaasError> {
        let mut tokens = Tokens(text.chars().peekable());
        let Some(Token::Text(module)) = tokens.take()? else {
            return Err(JaasError::NoEnd);
        };
        match tokens.take()? {
            Some(Token::Text(flag)) if is_flag(&flag) => {}
            Some(_) => return Err(JaasError::Flag),
            None => return Err(JaasError::NoEnd),
        }
        let mut options = BTreeMap::new();
        for place in 1.. {
            match tokens.take()? {
                Some(Token::Text(name)) => {
                    let is_equal = tokens.take()? == Some(Token::Sign('='));
                    match tokens.take()? {
                        Some(Token::Text(value)) if is_equal => {
                            options.insert(name, value.into());
                        }
                        _ => return Err(JaasError::NoValue(place)),
                    }
                }
                Some(Token::Sign(';')) => break,
                _ => return Err(JaasError::NoEnd),
            }
        }
        match tokens.take()? {
            None => Ok(Self { module, options }),
            Some(_) => Err(JaasError::Several),
        }
    }

    /// The user and the password that the options hold.
    pub(super) fn user(&self) -> Result<(String, Secret), JaasError> {
        let option = |option| {
            let module = self.module.clone();
            let found = self.options.get(option);
            found.ok_or(JaasError::Lacks { module, option })
        };
        let (user, password) = (option("username")?, option("password")?);
        Ok((user.expose().to_owned(), password.clone()))
    }
}

fn is_flag(word: &str) -> bool {
    FLAGS.iter().any(|flag| flag.eq_ignore_ascii_case(word))
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word, or what stands in quotes.
    Text(String),
    Sign(char),
}

struct Tokens<'t>(Peekable<Chars<'t>>);

impl Tokens<'_> {
    fn take(&mut self) -> Result<Option<Token>, JaasError> {
        loop {
            let Some(c) = self.0.next() else {
                return Ok(None);
            };
            match c {
                c if c <= ' ' => {}
                '/' => self.skip_comment(),
                '"' | '\'' => return self.quoted(c).map(|text| Some(Token::Text(text))),
                c if is_word(c) => {
                    let mut word = String::from(c);
                    while let Some(c) = self.0.next_if(|c| is_word(*c)) {
                        word.push(c);
                    }
                    return Ok(Some(Token::Text(word)));
                }
                sign => return Ok(Some(Token::Sign(sign))),
            }
        }
    }

    /// To the end of the line; after `/*`, to `*/`.
    fn skip_comment(&mut self) {
        if self.0.next_if_eq(&'*').is_none() {
            while self.0.next().is_some_and(|c| c != '\n' && c != '\r') {}
            return;
        }
        while let Some(c) = self.0.next() {
            if c == '*' && self.0.next_if_eq(&'/').is_some() {
                return;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, JaasError> {
        let mut text = String::new();
        loop {
            match self.0.next() {
                Some(c) if c == quote => return Ok(text),
                None | Some('\n' | '\r') => return Err(JaasError::OpenQuote),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, JaasError> {
        Ok(match self.0.next().ok_or(JaasError::OpenQuote)? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            first @ '0'..='7' => self.octal(first),
            other => other,
        })
    }

    /// Three digits at most, two where the first is above 3.
    fn octal(&mut self, first: char) -> char {
        let more = if first <= '3' { 2 } else { 1 };
        let mut code = first.to_digit(8).unwrap_or_default();
        for _ in 0..more {
            let Some(digit) = self.0.next_if(|c| c.is_digit(8)) else {
                break;
            };
            code = code * 8 + digit.to_digit(8).unwrap_or_default();
        }
        char::from_u32(code).unwrap_or_default()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$' | '.') || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(options: &str) -> Result<(String, String), JaasError> {
        let login = Login::parse(&format!("a.b.PlainLoginModule required {options}"))?;
        let (user, password) = login.user()?;
        Ok((user, password.expose().to_owned()))
    }

    #[test]
    fn a_line_is_read_as_java_reads_it() {
        for (options, name, password) in [
            (
                r#"username="token" password="change-password";"#,
                "token",
                "change-password",
            ),
            (
                r#"username='a"b' password="a\"b\\c\tx";"#,
                "a\"b",
                "a\"b\\c\tx",
            ),
            ("username=ann password=p-w_1.x$;", "ann", "p-w_1.x$"),
            (
                "username = \"a\"\n   password = \"p;=/x\" ; // done",
                "a",
                "p;=/x",
            ),
            (
                r#"/* who */ username="a" password="\101\0422\q" password="last";"#,
                "a",
                "last",
            ),
            (r#"username="a" password="\101\4420";"#, "a", "A$20"),
            ("username=Núñez password=\"ñ\";", "Núñez", "ñ"),
        ] {
            let expected = Ok((name.to_owned(), password.to_owned()));
            assert_eq!(user(options), expected, "{options}");
        }
    }

    #[test]
    fn the_module_and_other_options_are_kept() {
        let login = Login::parse("org.x.Plain_Module$1 Sufficient serviceName=kafka;").unwrap();
        assert_eq!(login.module, "org.x.Plain_Module$1");
        assert_eq!(login.options["serviceName"].expose(), "kafka");
        assert!(
            !format!("{login:?}").contains("kafka"),
            "no secret in Debug"
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for (options, expected) in [
            ("username=a password=geheim", JaasError::NoEnd),
            ("username=\"a\" password=\"geheim;", JaasError::OpenQuote),
            ("username=\"a\" password=\"geheim\\", JaasError::OpenQuote),
            ("username=a password;", JaasError::NoValue(2)),
            ("username=a password=\"x\"geheim\";", JaasError::OpenQuote),
            ("username=a password=\"x\"geheim;", JaasError::NoValue(3)),
            ("username \"geheim\";", JaasError::NoValue(1)),
            (
                "username=a password=geheim; b.C required;",
                JaasError::Several,
            ),
        ] {
            let error = user(options).unwrap_err();
            assert_eq!(error, expected, "{options}");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
        let lacks = user("username=a;").unwrap_err().to_string();
        assert_eq!(lacks, "a.b.PlainLoginModule needs the option password");
        let flag = Login::parse("a.b.C username=geheim;").unwrap_err();
        assert_eq!(flag, JaasError::Flag);
        assert_eq!(Login::parse(""), Err(JaasError::NoEnd));
    }
}
