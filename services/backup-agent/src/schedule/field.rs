//! A field of a cron line.

/// What a field may hold.
#[derive(Debug)]
pub(super) struct Bounds {
    /// For messages.
    pub(super) name: &'static str,
    pub(super) first: u32,
    pub(super) last: u32,
    /// Names of numbers, from the first one.
    pub(super) names: &'static [&'static str],
}

pub(super) const SECOND: Bounds = Bounds {
    name: "second",
    first: 0,
    last: 59,
    names: &[],
};
pub(super) const MINUTE: Bounds = Bounds {
    name: "minute",
    first: 0,
    last: 59,
    names: &[],
};
pub(super) const HOUR: Bounds = Bounds {
    name: "hour",
    first: 0,
    last: 23,
    names: &[],
};
pub(super) const DAY: Bounds = Bounds {
    name: "day",
    first: 1,
    last: 31,
    names: &[],
};
pub(super) const MONTH: Bounds = Bounds {
    name: "month",
    first: 1,
    last: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
pub(super) const WEEKDAY: Bounds = Bounds {
    name: "weekday",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The numbers that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    bits: u64,
    /// It says nothing: a `*` or `?` without a step, alone or among others.
    pub(super) is_open: bool,
    /// It begins with one, with a step or without.
    pub(super) is_star: bool,
}

impl Field {
    /// Fails with what is wrong.
    pub(super) fn read(text: &str, bounds: &Bounds) -> Result<Self, String> {
        let mut field = Self {
            bits: 0,
            is_open: false,
            is_star: text.starts_with(['*', '?']),
        };
        for part in text.split(',') {
            let (first, last, step) = range(part, bounds)?;
            field.is_open |= step == 1 && part.starts_with(['*', '?']);
            let mut number = first;
            while number <= last {
                field.bits |= 1 << number;
                number += step;
            }
        }
        Ok(field)
    }

    /// The same with 7 for 0.
    pub(super) fn of_week(mut self) -> Self {
        if self.has(7) {
            self.bits |= 1;
        }
        self
    }

    pub(super) fn has(&self, number: u32) -> bool {
        self.bits & (1 << number) != 0
    }

    /// The first number that matches, from one on.
    pub(super) fn from(&self, number: u32) -> Option<u32> {
        let left = self.bits.checked_shr(number).unwrap_or(0);
        (left != 0).then(|| number + left.trailing_zeros())
    }
}

/// First, last and step of a part.
fn range(part: &str, bounds: &Bounds) -> Result<(u32, u32, u32), String> {
    let name = bounds.name;
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" || range == "?" => (bounds.first, all(bounds)),
        Some((first, last)) => (number(first, bounds)?, number(last, bounds)?),
        None if step.is_some() => (number(range, bounds)?, all(bounds)),
        None => (number(range, bounds)?, number(range, bounds)?),
    };
    if first > last {
        return Err(format!("the {name}s {range} begin after their end"));
    }
    let step = step.map_or(Ok(1), str::parse);
    match step {
        Ok(step) if (1..=1000).contains(&step) => Ok((first, last, step)),
        _ => Err(format!(
            "the step of the {name}s {part} must be a number from 1 on"
        )),
    }
}

/// The last number of a field that is given by `*`: 7 is 0 once more.
fn all(bounds: &Bounds) -> u32 {
    if bounds.name == WEEKDAY.name {
        6
    } else {
        bounds.last
    }
}

fn number(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_ascii_lowercase();
    let named = (bounds.first..)
        .zip(bounds.names)
        .find(|(_, name)| **name == lower);
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = match named {
        Some((number, _)) => Some(number),
        None if is_number => text.parse().ok(),
        None => None,
    };
    number
        .filter(|number| (bounds.first..=bounds.last).contains(number))
        .ok_or_else(|| {
            let Bounds {
                name, first, last, ..
            } = bounds;
            format!("{text:?} is no {name}; they go from {first} to {last}")
        })
}
