//! A cron line, on the times that a clock on the wall shows.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

use super::field::{DAY, Field, HOUR, MINUTE, MONTH, SECOND, WEEKDAY};

/// The 29th of February comes after eight years at most.
const YEARS: u64 = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    second: Field,
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

impl Cron {
    /// Fails with what is wrong.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let text = match text.strip_prefix('@') {
            Some(name) => named(name)?,
            None => text,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, [minute, hour, day, month, weekday]) = match fields[..] {
            [second, m, h, d, month, w] => (second, [m, h, d, month, w]),
            [m, h, d, month, w] => ("0", [m, h, d, month, w]),
            _ => return Err(format!("it has {} fields, not 5 or 6", fields.len())),
        };
        Ok(Self {
            second: Field::read(second, &SECOND)?,
            minute: Field::read(minute, &MINUTE)?,
            hour: Field::read(hour, &HOUR)?,
            day: Field::read(day, &DAY)?,
            month: Field::read(month, &MONTH)?,
            weekday: Field::read(weekday, &WEEKDAY)?.of_week(),
        })
    }

    /// Whether it names hours, so that it means a time of day.
    pub(super) fn names_hours(&self) -> bool {
        !self.hour.is_star
    }

    /// The first time that matches after another.
    pub(super) fn next_after(&self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        let start = time
            .with_nanosecond(0)?
            .checked_add_signed(chrono::TimeDelta::seconds(1))?;
        if self.has_day(start.date())
            && let Some(found) = self.time_from(start.time())
        {
            return Some(start.date().and_time(found));
        }
        let mut days =
            (1..=YEARS * 366).map_while(|days| start.date().checked_add_days(Days::new(days)));
        let day = days.find(|day| self.has_day(*day))?;
        Some(day.and_time(self.time_from(NaiveTime::MIN)?))
    }

    fn has_day(&self, date: NaiveDate) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().num_days_from_sunday());
        let is_day = if self.day.is_open || self.weekday.is_open {
            day && weekday
        } else {
            day || weekday
        };
        is_day && self.month.has(date.month())
    }

    /// The first time of day that matches, from one on.
    fn time_from(&self, time: NaiveTime) -> Option<NaiveTime> {
        let mut hour = self.hour.from(time.hour())?;
        if hour == time.hour() {
            if let Some((minute, second)) = self.minute_from(time) {
                return NaiveTime::from_hms_opt(hour, minute, second);
            }
            hour = self.hour.from(hour + 1)?;
        }
        NaiveTime::from_hms_opt(hour, self.minute.from(0)?, self.second.from(0)?)
    }

    fn minute_from(&self, time: NaiveTime) -> Option<(u32, u32)> {
        let minute = self.minute.from(time.minute())?;
        if minute > time.minute() {
            return Some((minute, self.second.from(0)?));
        }
        match self.second.from(time.second()) {
            Some(second) => Some((minute, second)),
            None => Some((self.minute.from(minute + 1)?, self.second.from(0)?)),
        }
    }
}

fn named(name: &str) -> Result<&'static str, String> {
    match name {
        "yearly" | "annually" => Ok("0 0 1 1 *"),
        "monthly" => Ok("0 0 1 * *"),
        "weekly" => Ok("0 0 * * 0"),
        "daily" | "midnight" => Ok("0 0 * * *"),
        "hourly" => Ok("0 * * * *"),
        _ => Err(format!("@{name} is not known")),
    }
}
