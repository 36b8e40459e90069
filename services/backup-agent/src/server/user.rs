//! Who runs a server and owns its files.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::ServerError;

/// A user of the system and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

impl User {
    /// `postgres` (from `/etc/passwd`), `1001:0`, or `1001`, whose group is of the same number.
    pub fn parse(text: &str) -> Result<Self, ServerError> {
        let numbers = match text.split_once(':') {
            Some((uid, gid)) => uid.parse().ok().zip(gid.parse().ok()),
            None => text.parse().ok().map(|uid| (uid, uid)),
        };
        if let Some((uid, gid)) = numbers {
            return Ok(Self { uid, gid });
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let found = users.lines().find_map(|line| of_line(line, text));
        found.ok_or_else(|| ServerError::NoUser(text.to_owned()))
    }

    /// The one that a server is to run as: the one given; where this process is root's, `postgres`; else none, which
    /// means whom this process runs as.
    pub fn for_server(given: Option<Self>) -> Result<Option<Self>, ServerError> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        match given {
            Some(user) if user.uid == 0 => Err(ServerError::Root),
            Some(user) => Ok(Some(user)),
            None if is_root => Self::parse("postgres")
                .map(Some)
                .map_err(|_| ServerError::Root),
            None => Ok(None),
        }
    }
}

fn of_line(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    (fields.next()? == name).then_some(())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_names_or_numbers() {
        assert_eq!(
            User::parse("1001").unwrap(),
            User {
                uid: 1001,
                gid: 1001
            }
        );
        assert_eq!(User::parse("1001:0").unwrap(), User { uid: 1001, gid: 0 });
        assert_eq!(User::parse("root").unwrap(), User { uid: 0, gid: 0 });
        for wrong in ["", "no such user", "1:x", "-1"] {
            assert!(User::parse(wrong).is_err(), "{wrong:?}");
        }
        let root = User::for_server(Some(User { uid: 0, gid: 0 }));
        assert!(matches!(root, Err(ServerError::Root)));
    }
}
