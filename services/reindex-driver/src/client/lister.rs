//! Which ids are still to come: what the server lists, of one type or of several, in ascending order.

use std::collections::VecDeque;

use super::window::Window;

/// Index ids as the server lists them.
#[derive(Debug)]
pub(super) struct Lister {
    lanes: Vec<Lane>,
}

/// The listing of one type, or of all.
#[derive(Debug)]
struct Lane {
    of: Option<String>,
    ids: VecDeque<i64>,
    listed: Option<i64>,
    is_ended: bool,
}

/// A page to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    lane: usize,
    /// Resources of this type only.
    pub(super) of: Option<String>,
    /// Ids above this one only.
    pub(super) after: Option<i64>,
}

impl Lister {
    /// Of these types; of all when empty.
    pub(super) fn new(types: &[String]) -> Self {
        let lane = |of| Lane {
            of,
            ids: VecDeque::new(),
            listed: None,
            is_ended: false,
        };
        let lanes = if types.is_empty() {
            vec![lane(None)]
        } else {
            types.iter().cloned().map(|of| lane(Some(of))).collect()
        };
        Self { lanes }
    }

    /// The page that is needed first; none while each listing has more than `enough` at hand or is at its end.
    pub(super) fn ask(&self, window: &Window, enough: usize) -> Option<Ask> {
        let lanes = self.lanes.iter().enumerate();
        let short = lanes.filter(|(_, lane)| !lane.is_ended && lane.ids.len() <= enough);
        let (lane, found) = short.min_by_key(|(_, lane)| lane.ids.len())?;
        Some(Ask {
            lane,
            of: found.of.clone(),
            after: window.ask_after(found.listed),
        })
    }

    /// A page came; an empty one is the end of its listing.
    pub(super) fn took(&mut self, ask: &Ask, ids: &[i64], window: &Window) {
        let lane = &mut self.lanes[ask.lane];
        lane.is_ended = ids.is_empty();
        lane.listed = ids.last().copied().or(lane.listed);
        let wanted = ids.iter().copied().filter(|id| window.wants(*id));
        lane.ids.extend(wanted);
    }

    /// Up to so many ids, ascending, which are not at hand any more; fewer where the next one is not known.
    pub(super) fn next(&mut self, most: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        while ids.len() < most && self.lanes.iter().all(Lane::is_known) {
            let with_ids = self.lanes.iter_mut().filter(|lane| !lane.ids.is_empty());
            let least = with_ids.min_by_key(|lane| lane.ids.front().copied());
            match least.and_then(|lane| lane.ids.pop_front()) {
                Some(id) => ids.push(id),
                None => break,
            }
        }
        ids
    }

    /// Nothing is at hand, and nothing more is listed.
    pub(super) fn is_ended(&self) -> bool {
        let ended = |lane: &Lane| lane.is_ended && lane.ids.is_empty();
        self.lanes.iter().all(ended)
    }

    /// Asks once more: the end of a listing is believed when all else is done.
    pub(super) fn ask_again(&mut self) {
        for lane in &mut self.lanes {
            lane.is_ended = false;
        }
    }
}

impl Lane {
    /// Its least id is known, or it has none.
    fn is_known(&self) -> bool {
        self.is_ended || !self.ids.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::Position;

    fn serve(lister: &mut Lister, window: &Window, of: impl Fn(&Ask) -> Vec<i64>) {
        while let Some(ask) = lister.ask(window, 2) {
            let ids = of(&ask);
            lister.took(&ask, &ids, window);
        }
    }

    #[test]
    fn several_types_are_one_ascending_row() {
        let window = Window::new(&Position::default());
        let types = ["Patient".to_owned(), "Observation".to_owned()];
        let mut lister = Lister::new(&types);
        assert!(lister.next(9).is_empty());
        serve(&mut lister, &window, |ask| {
            let all: &[i64] = match ask.of.as_deref() {
                Some("Patient") => &[2, 8, 10],
                _ => &[4, 6, 12, 14, 16, 18],
            };
            let above = all.iter().filter(|id| ask.after.is_none_or(|a| **id > a));
            above.copied().take(2).collect()
        });
        assert_eq!(lister.next(3), [2, 4, 6]);
        serve(&mut lister, &window, |ask| match ask.of.as_deref() {
            Some("Patient") => Vec::new(),
            _ => [16, 18]
                .into_iter()
                .filter(|id| ask.after < Some(*id))
                .collect(),
        });
        assert_eq!(lister.next(100), [8, 10, 12, 14, 16, 18]);
        serve(&mut lister, &window, |_| Vec::new());
        assert!(lister.is_ended());
        lister.ask_again();
        assert!(!lister.is_ended() && lister.next(9).is_empty());
    }

    #[test]
    fn only_what_was_left_open_is_listed_again() {
        let left = Position {
            frontier: Some(20),
            open: vec![(4, 6), (12, 12)],
        };
        let window = Window::new(&left);
        let mut lister = Lister::new(&[]);
        let asked = std::cell::RefCell::new(Vec::new());
        let even = |ask: &Ask| {
            asked.borrow_mut().push(ask.after);
            let above = (1..=12).map(|n| n * 2).filter(|id| ask.after < Some(*id));
            above.take(3).collect()
        };
        serve(&mut lister, &window, even);
        assert_eq!(lister.next(2), [4, 6]);
        serve(&mut lister, &window, even);
        assert_eq!(lister.next(100), [12, 22, 24]);
        assert_eq!(asked.into_inner()[..3], [Some(3), Some(11), Some(20)]);
    }
}
