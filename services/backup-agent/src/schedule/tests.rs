use super::*;

pub(super) fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn schedule(text: &str) -> Schedule {
    text.parse().unwrap()
}

/// Lines of a time, a schedule, and when that comes first after it.
fn comes(table: &str) {
    let lines = table.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [after, text, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let next = schedule(text).next_after(at(after)).unwrap();
        assert_eq!(next, at(expected), "{line}");
    }
}

#[test]
fn five_and_six_fields() {
    comes(
        "
        2012-07-09T14:45:00Z | 0/15 * * * * | 2012-07-09T15:00:00Z
        2012-07-09T14:59:59.9Z | 0/15 * * * * | 2012-07-09T15:00:00Z
        2012-07-09T15:45:00Z | 20-35/15 * * * * | 2012-07-09T16:20:00Z
        2012-07-09T23:46:00Z | */15 * * * * | 2012-07-10T00:00:00Z
        2012-07-09T23:35:51Z | 15/35 20-35/15 * * * * | 2012-07-10T00:20:15Z
        2012-07-09T23:35:51Z | 15/35 20-35/15 1/2 * * * | 2012-07-10T01:20:15Z
        2012-07-09T23:35:51Z | 15/35 20-35/15 10-12 * * * | 2012-07-10T10:20:15Z
        2012-07-09T23:35:51Z | 15/35 20-35/15 * 9-20 Jul * | 2012-07-10T00:20:15Z
        2012-07-09T23:35:00Z | 0 0 0 9 Apr-Oct ? | 2012-08-09T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 0 */5 Apr,Aug,Oct Mon | 2012-08-01T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 0 */5 Oct MON | 2012-10-01T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 0 * Feb Mon/2 | 2013-02-01T00:00:00Z
        2012-12-31T23:59:45Z | * * * * * * | 2012-12-31T23:59:46Z
        2012-12-31T23:59:45Z | * * * * * | 2013-01-01T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 0 29 Feb ? | 2016-02-29T00:00:00Z
        2096-03-01T00:00:00Z | 0 0 29 2 * | 2104-02-29T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 1 1 7 | 2013-01-01T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 * * 7 | 2012-07-15T00:00:00Z
        2012-07-09T23:35:00Z | 0 0 * * 5-7 | 2012-07-13T00:00:00Z
        2026-01-30T02:30:00Z | 30 2 31 * * | 2026-01-31T02:30:00Z
        2026-01-31T02:30:00Z | 30 2 31 * * | 2026-03-31T02:30:00Z
        ",
    );
}

#[test]
fn either_day_will_do_where_both_are_given() {
    // 2012-07-15 is a Sunday.
    comes(
        "
        2012-07-14T23:59:59Z | 0 0 1,15 * Sun | 2012-07-15T00:00:00Z
        2012-06-14T23:59:59Z | 0 0 1,15 * Sun | 2012-06-15T00:00:00Z
        2012-07-31T23:59:59Z | 0 0 1,15 * Sun | 2012-08-01T00:00:00Z
        2012-07-14T23:59:59Z | 0 0 * * Mon | 2012-07-16T00:00:00Z
        2012-07-14T23:59:59Z | 0 0 */10 * Sun | 2012-07-15T00:00:00Z
        2012-07-14T23:59:59Z | 0 0 1,15 * * | 2012-07-15T00:00:00Z
        2012-07-14T23:59:59Z | 0 0 1,15 * */2 | 2012-07-15T00:00:00Z
        ",
    );
}

#[test]
fn names_for_usual_ones() {
    comes(
        "
        2012-07-09T14:45:10Z | @yearly | 2013-01-01T00:00:00Z
        2012-07-09T14:45:10Z | @annually | 2013-01-01T00:00:00Z
        2012-07-09T14:45:10Z | @monthly | 2012-08-01T00:00:00Z
        2012-07-09T14:45:10Z | @weekly | 2012-07-15T00:00:00Z
        2012-07-09T14:45:10Z | @daily | 2012-07-10T00:00:00Z
        2012-07-09T14:45:10Z | @midnight | 2012-07-10T00:00:00Z
        2012-07-09T14:45:10Z | @hourly | 2012-07-09T15:00:00Z
        2012-07-09T14:45:10Z | @every 24h | 2012-07-10T14:45:10Z
        2012-07-09T14:45:10Z | @every 1h30m5s | 2012-07-09T16:15:15Z
        2012-07-09T14:45:10Z | @every 1.5h | 2012-07-09T16:15:10Z
        2012-07-09T14:45:10Z | @every 1500ms | 2012-07-09T14:45:11Z
        2012-07-09T14:45:10Z | @every 1440h | 2012-09-07T14:45:10Z
        ",
    );
}

#[test]
fn clocks_that_go_forward() {
    // At 02:00 of 2012-03-11 it is 03:00 in New York.
    comes(
        "
        2012-03-11T00:00:00-05:00 | TZ=America/New_York 0 * * * * | 2012-03-11T01:00:00-05:00
        2012-03-11T01:00:00-05:00 | TZ=America/New_York 0 * * * * | 2012-03-11T03:00:00-04:00
        2012-03-11T03:00:00-04:00 | TZ=America/New_York 0 * * * * | 2012-03-11T04:00:00-04:00
        2012-03-11T01:30:00-05:00 | TZ=America/New_York 30 * * * * | 2012-03-11T03:30:00-04:00
        2012-03-11T00:00:00-05:00 | CRON_TZ=America/New_York 0 1 * * * | 2012-03-11T01:00:00-05:00
        2012-03-11T01:00:00-05:00 | CRON_TZ=America/New_York 0 1 * * * | 2012-03-12T01:00:00-04:00
        # What the zone leaves out is not left out.
        2012-03-11T00:00:00-05:00 | CRON_TZ=America/New_York 30 2 * * * | 2012-03-11T03:00:00-04:00
        2012-03-11T03:00:00-04:00 | CRON_TZ=America/New_York 30 2 * * * | 2012-03-12T02:30:00-04:00
        2012-03-11T00:00:00-05:00 | CRON_TZ=America/New_York 0,30 2 * * * | 2012-03-11T03:00:00-04:00
        2012-03-11T00:00:00-05:00 | CRON_TZ=America/New_York 30 3 * * * | 2012-03-11T03:30:00-04:00
        ",
    );
}

#[test]
fn clocks_that_go_back() {
    // At 02:00 of 2012-11-04 it is 01:00 again in New York.
    comes(
        "
        2012-11-04T00:00:00-04:00 | TZ=America/New_York 0 * * * * | 2012-11-04T01:00:00-04:00
        2012-11-04T01:00:00-04:00 | TZ=America/New_York 0 * * * * | 2012-11-04T01:00:00-05:00
        2012-11-04T01:00:00-05:00 | TZ=America/New_York 0 * * * * | 2012-11-04T02:00:00-05:00
        2012-11-04T00:00:00-04:00 | TZ=America/New_York 30 2 04 Nov ? | 2012-11-04T02:30:00-05:00
        2012-11-04T00:00:00-04:00 | TZ=America/New_York 30 1 * * * | 2012-11-04T01:30:00-04:00
        # What the zone has twice is done once.
        2012-11-04T01:30:00-04:00 | TZ=America/New_York 30 1 * * * | 2012-11-05T01:30:00-05:00
        2012-11-04T01:15:00-05:00 | TZ=America/New_York 30 1 * * * | 2012-11-05T01:30:00-05:00
        2012-07-01T00:00:00Z | TZ=Africa/Nairobi 30 2 * * * | 2012-07-01T23:30:00Z
        2012-07-01T00:00:00Z | TZ=Asia/Dhaka 0 0 1 1 * | 2012-12-31T18:00:00Z
        ",
    );
}

#[test]
fn what_is_no_schedule_is_refused() {
    for (text, reason) in [
        ("", "it has 0 fields, not 5 or 6"),
        ("* * * *", "it has 4 fields"),
        ("* * * * * * *", "it has 7 fields"),
        ("60 * * * *", "\"60\" is no minute; they go from 0 to 59"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day; they go from 1 to 31"),
        ("* * * 13 *", "no month"),
        ("* * * * 8", "no weekday"),
        ("* * * Foo *", "\"Foo\" is no month"),
        ("5-2 * * * *", "the minutes 5-2 begin after their end"),
        ("*/0 * * * *", "must be a number from 1 on"),
        ("*/-1 * * * *", "must be a number from 1 on"),
        ("-5 * * * *", "\"\" is no minute"),
        ("1,,2 * * * *", "\"\" is no minute"),
        ("0 0 31 2 *", "no such day ever comes"),
        ("@fortnightly", "@fortnightly is not known"),
        ("@reboot", "@reboot is not known"),
        ("@every", "@every is not known"),
        ("@every 24", "\"24\" is no length of time"),
        ("@every 2days", "\"2days\" is no length of time"),
        ("@every 10ms", "shorter than a second"),
        ("TZ=Mars/Base * * * * *", "Mars/Base is no time zone"),
        ("TZ=UTC", "nothing follows the time zone"),
    ] {
        let told = text.parse::<Schedule>().unwrap_err().to_string();
        assert!(told.contains(reason), "{text}: {told}");
    }
}

#[test]
fn a_schedule_is_shown_as_it_was_given() {
    let read: Schedule = serde_json::from_str("\" TZ=Asia/Dhaka @daily\"").unwrap();
    assert_eq!(read.to_string(), "TZ=Asia/Dhaka @daily");
    assert!(serde_json::from_str::<Schedule>("\"@never\"").is_err());
}

#[test]
fn jumping_to_the_last_one_finds_what_walking_finds() {
    for text in [
        "*/7 * * * *",
        "13 5 * * 1",
        "TZ=Europe/Berlin 30 2 * * *",
        "0 0 31 * *",
    ] {
        let schedule = schedule(text);
        let after = at("2026-03-01T00:00:00Z");
        for hours in 0..60 {
            let until = after + TimeDelta::minutes(hours * 61 * 17);
            let walked = schedule.walk(after, until);
            assert_eq!(
                schedule.last_between(after, until),
                walked,
                "{text} until {until}"
            );
        }
    }
}
