//! Tar archives (POSIX ustar) as they stream by: what PostgreSQL sends and `tar` makes of plain files, folders and
//! symbolic links. <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html>

use std::io;

/// Archives consist of blocks of so many bytes.
pub const BLOCK: usize = 512;

/// An archive ends with two blocks of zeros.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The path, as bytes: PostgreSQL knows nothing of its encoding.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of content.
    pub size: u64,
    /// Permissions.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, and where it leads.
    Link(Vec<u8>),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An entry begins.
    Begin(&'a Header),
    /// Some of its content.
    Data(&'a [u8]),
    /// It is over.
    End,
}

/// Bytes that are no archive.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// A header is damaged.
    #[error("the tar header at byte {at} is damaged ({what})")]
    Header {
        /// Where it begins.
        at: u64,
        /// What is the matter.
        what: &'static str,
    },
    /// The archive is cut off.
    #[error("the tar archive is cut off at byte {0}")]
    Cut(u64),
    /// More than zeros after its end.
    #[error("something follows the end of the tar archive, at byte {0}")]
    Tail(u64),
}

/// Takes an archive apart, piece by piece of whatever size.
#[derive(Debug, Default)]
pub struct Reader {
    at: u64,
    header: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// A header comes, after so many blocks of zeros.
    #[default]
    Header,
    OneZero,
    Content {
        left: u64,
        padding: u64,
    },
    Over,
}

impl Reader {
    /// A reader at the beginning of an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece; what it holds is told to `on`, whose error ends it.
    pub fn push<E: From<TarError>>(
        &mut self,
        mut piece: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !piece.is_empty() {
            let taken = match self.state {
                State::Content { left, padding } => self.content(piece, left, padding, on)?,
                State::Header | State::OneZero => self.gather(piece, on)?,
                State::Over if piece.iter().all(|byte| *byte == 0) => piece.len(),
                State::Over => return Err(TarError::Tail(self.at).into()),
            };
            self.at += taken as u64;
            piece = &piece[taken..];
        }
        Ok(())
    }

    /// Bytes that were taken.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the entry under way that are still to come, padding included.
    pub fn left(&self) -> u64 {
        match self.state {
            State::Content { left, padding } => left + padding,
            _ => 0,
        }
    }

    /// Passes over them: the next piece begins with what follows. The entry's end is not told.
    pub fn skip(&mut self) {
        self.at += self.left();
        if let State::Content { .. } = self.state {
            self.state = State::Header;
        }
    }

    /// To be called after the last piece. Without the two blocks of zeros an archive may have been cut between files.
    pub fn finish(&self) -> Result<(), TarError> {
        match self.state {
            State::Over => Ok(()),
            _ => Err(TarError::Cut(self.at)),
        }
    }

    fn content<E>(
        &mut self,
        piece: &[u8],
        left: u64,
        padding: u64,
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let of = if left > 0 { left } else { padding };
        let taken = usize::try_from(of).unwrap_or(usize::MAX).min(piece.len());
        let (left, padding) = if left > 0 {
            on(Event::Data(&piece[..taken]))?;
            (left - taken as u64, padding)
        } else {
            (0, padding - taken as u64)
        };
        if left == 0 && padding == 0 {
            on(Event::End)?;
            self.state = State::Header;
        } else {
            self.state = State::Content { left, padding };
        }
        Ok(taken)
    }

    fn gather<E: From<TarError>>(
        &mut self,
        piece: &[u8],
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let taken = (BLOCK - self.header.len()).min(piece.len());
        self.header.extend_from_slice(&piece[..taken]);
        if self.header.len() == BLOCK {
            let block = std::mem::take(&mut self.header);
            let at = self.at + taken as u64 - BLOCK as u64;
            self.begin(&block, at, on)?;
        }
        Ok(taken)
    }

    fn begin<E: From<TarError>>(
        &mut self,
        block: &[u8],
        at: u64,
        on: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if block.iter().all(|byte| *byte == 0) {
            self.state = match self.state {
                State::OneZero => State::Over,
                _ => State::OneZero,
            };
            return Ok(());
        }
        if self.state == State::OneZero {
            return Err(TarError::Tail(at).into());
        }
        let header = Header::parse(block).map_err(|what| TarError::Header { at, what })?;
        on(Event::Begin(&header))?;
        if header.size == 0 {
            return on(Event::End);
        }
        self.state = State::Content {
            left: header.size,
            padding: padding(header.size),
        };
        Ok(())
    }
}

/// Zeros that follow content of this size.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64) - size
}

impl Header {
    /// The header of a file.
    pub fn file(path: &str, size: u64, mode: u32, modified: u64) -> Self {
        Self {
            path: path.into(),
            kind: Kind::File,
            size,
            mode,
            modified,
        }
    }

    /// As it is written. Fails for a path of more than 100 bytes or a size of 8 GiB and more, which
    /// PostgreSQL's own files here do not have.
    pub fn to_block(&self) -> io::Result<[u8; BLOCK]> {
        if self.path.len() > 100 || self.size >= 1 << 33 {
            return Err(io::Error::other("too long or too large for a tar header"));
        }
        let (flag, target) = match &self.kind {
            Kind::File => (b'0', &[][..]),
            Kind::Folder => (b'5', &[][..]),
            Kind::Link(target) if target.len() > 100 => {
                return Err(io::Error::other("too long a link for a tar header"));
            }
            Kind::Link(target) => (b'2', &target[..]),
        };
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, format!("{:07o}", self.mode & 0o7777).as_bytes());
        put(108, b"0000000\0");
        put(116, b"0000000\0");
        put(124, format!("{:011o}\0", self.size).as_bytes());
        put(
            136,
            format!("{:011o}\0", self.modified & 0o77_777_777_777).as_bytes(),
        );
        put(148, b"        ");
        put(156, &[flag]);
        put(157, target);
        put(257, b"ustar\x0000");
        put(265, b"postgres");
        put(297, b"postgres");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        Ok(block)
    }

    fn parse(block: &[u8]) -> Result<Self, &'static str> {
        let said = number(&block[148..156]).ok_or("no checksum")?;
        let blanks = 8 * u64::from(b' ');
        let plain = |range: std::ops::Range<usize>| {
            block[range]
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>()
        };
        if plain(0..148) + blanks + plain(156..BLOCK) != said {
            return Err("another checksum");
        }
        let kind = match block[156] {
            b'0' | 0 => Kind::File,
            b'5' => Kind::Folder,
            b'2' => Kind::Link(text(&block[157..257]).to_vec()),
            _ => return Err("neither a file, a folder nor a symbolic link"),
        };
        let prefix = if block[257..263] == *b"ustar\0" {
            text(&block[345..500])
        } else {
            &[]
        };
        let mut path = prefix.to_vec();
        if !prefix.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(text(&block[..100]));
        let size = number(&block[124..136]).ok_or("no size")?;
        if size > u64::MAX - BLOCK as u64 {
            return Err("an impossible size");
        }
        Ok(Self {
            path,
            size: if kind == Kind::File { size } else { 0 },
            kind,
            mode: number(&block[100..108])
                .and_then(|mode| u32::try_from(mode).ok())
                .ok_or("no mode")?,
            modified: number(&block[136..148]).ok_or("no time")?,
        })
    }
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|byte| *byte == 0);
    &field[..end.unwrap_or(field.len())]
}

/// Octal digits, or for what is too large for them the base-256 form of GNU tar, which PostgreSQL uses too.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        let (high, low) = field[1..].split_at(field.len().saturating_sub(9));
        return (high.iter().all(|byte| *byte == 0))
            .then(|| low.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    }
    let digits = std::str::from_utf8(field).ok()?;
    let digits = digits.trim_matches([' ', '\0']);
    if digits.is_empty() {
        return Some(0);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    u64::from_str_radix(digits, 8).ok()
}
