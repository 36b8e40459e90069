//! Options of a Java tool's command line.

use anyhow::{anyhow, bail};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing.
    Nothing,
    /// The next argument, described for people.
    Value(&'static str),
    /// `true` or `false`, if one of them comes next.
    MaybeBool,
}

/// Every option of a tool: the name as it is typed, and what it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options(pub(crate) &'static [(&'static str, Takes)]);

impl Options {
    /// Hands each option and its value (empty for none) to `set`, in the order given.
    pub(crate) fn parse(
        self,
        mut args: &[String],
        mut set: impl FnMut(&str, &str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let [name, rest @ ..] = args {
            let Some(takes) = self.takes(name) else {
                bail!("Bad arg: {name}; did you mean {}?", self.nearest(name));
            };
            let (value, rest) = self.value_of(name, takes, rest)?;
            set(name, value)?;
            args = rest;
        }
        Ok(())
    }

    /// What an option takes; none when there is no such option.
    pub(crate) fn takes(self, name: &str) -> Option<Takes> {
        let found = self.0.iter().find(|(option, _)| *option == name);
        found.map(|(_, takes)| *takes)
    }

    /// The option that looks most like `text`.
    fn nearest(self, text: &str) -> &'static str {
        let text = text.trim_start_matches('-');
        let likeness =
            |option: &str| strsim::normalized_levenshtein(option.trim_start_matches('-'), text);
        let names = self.0.iter().map(|(option, _)| *option);
        names
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .unwrap_or("--help")
    }

    /// The value that an option takes from the arguments after it, and those after that.
    fn value_of<'a>(
        self,
        name: &str,
        takes: Takes,
        rest: &'a [String],
    ) -> anyhow::Result<(&'a str, &'a [String])> {
        let what = match takes {
            Takes::Nothing => return Ok(("", rest)),
            Takes::MaybeBool => {
                return Ok(match rest {
                    [value, rest @ ..] if value == "true" || value == "false" => (value, rest),
                    rest => ("true", rest),
                });
            }
            Takes::Value(what) => what,
        };
        match rest {
            [next, ..] if next.starts_with("--") || self.takes(next).is_some() => {
                bail!("{name} needs a value, {what}, and {next} follows it")
            }
            [value, rest @ ..] => Ok((value, rest)),
            [] => bail!("{name} needs a value: {what}"),
        }
    }
}

/// The whole number that an option is given.
pub(crate) fn number<T: std::str::FromStr>(name: &str, value: &str) -> anyhow::Result<T> {
    let parsed = value.trim().parse();
    parsed.map_err(|_| anyhow!("{name} {value}: is not a whole number that it can take"))
}

/// The same, of 1 or more.
pub(crate) fn at_least_one(name: &str, value: &str) -> anyhow::Result<u32> {
    match number(name, value)? {
        0 => bail!("{name} {value}: must be 1 or more"),
        n => Ok(n),
    }
}
