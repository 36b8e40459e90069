//! Which index ids are settled: exactly, in little memory, whatever the order in which answers come.

use std::collections::VecDeque;

use crate::runs::Position;

/// Settled ones among others are taken out when they are so many, and more than the others.
const COMPACT: usize = 4096;

/// The index ids of a run that are taken and not settled, and what a run that was interrupted had left open.
#[derive(Debug)]
pub(super) struct Window {
    /// Taken ids, ascending. The first is not settled.
    taken: VecDeque<Taken>,
    /// Settled ones among them.
    settled: usize,
    /// The greatest id that was ever settled.
    frontier: Option<i64>,
    /// Spans that were left open before, as far as nothing of them is taken yet; ascending.
    left: VecDeque<(i64, i64)>,
    /// The end of the span that was taken from last: between two ids of one span all others are gone.
    span_end: Option<i64>,
    /// Up to here, only ids in the spans that were left open are wanted.
    known_to: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    id: i64,
    is_settled: bool,
    /// Between this and the one before are others, which are settled.
    after_gap: bool,
}

impl Window {
    /// Where a run stands that is taken up.
    pub(super) fn new(position: &Position) -> Self {
        Self {
            taken: VecDeque::new(),
            settled: 0,
            frontier: position.frontier,
            left: position.open.iter().copied().collect(),
            span_end: None,
            known_to: position.frontier,
        }
    }

    /// Whether an id that the server lists, above all that are taken, is still to be done.
    pub(super) fn wants(&self, id: i64) -> bool {
        if self.known_to.is_none_or(|to| id > to) {
            return true;
        }
        let span = self.left.iter().find(|(_, last)| *last >= id);
        span.is_some_and(|(first, _)| *first <= id)
    }

    /// After which id the server is to be asked, when all up to `listed` are known.
    pub(super) fn ask_after(&self, listed: Option<i64>) -> Option<i64> {
        let is_ahead = |last: i64| listed.is_none_or(|listed| last > listed);
        match self.left.iter().find(|(_, last)| is_ahead(*last)) {
            Some((first, _)) => listed.max(Some(first.saturating_sub(1))),
            None => listed.max(self.known_to),
        }
    }

    /// A wanted id is taken, to be settled some time; a greater one than all before.
    pub(super) fn take(&mut self, id: i64) {
        let after_gap = self.span_end.is_none_or(|end| id > end);
        // What the server no longer lists of a span is gone.
        while self.left.front().is_some_and(|(_, last)| *last <= id) {
            if let Some((_, last)) = self.left.pop_front() {
                self.span_end = Some(last);
            }
        }
        if after_gap && self.span_end.is_none_or(|end| id > end) {
            self.span_end = Some(self.left.front().map_or(i64::MAX, |(_, last)| *last));
        }
        if let Some((first, _)) = self.left.front_mut()
            && *first <= id
        {
            *first = id + 1;
        }
        self.taken.push_back(Taken {
            id,
            is_settled: false,
            after_gap,
        });
    }

    /// A taken id is done, gone or set aside. Settling it again changes nothing.
    pub(super) fn settle(&mut self, id: i64) {
        self.frontier = self.frontier.max(Some(id));
        let found = self.taken.binary_search_by_key(&id, |taken| taken.id);
        if let Ok(index) = found
            && !self.taken[index].is_settled
        {
            self.taken[index].is_settled = true;
            self.settled += 1;
        }
        while self.taken.front().is_some_and(|taken| taken.is_settled) {
            self.taken.pop_front();
            self.settled -= 1;
        }
        if self.settled > COMPACT && self.settled > self.taken.len() / 2 {
            self.compact();
        }
    }

    /// What has to be durable for others to go on from here.
    pub(super) fn position(&self) -> Position {
        let mut open: Vec<(i64, i64)> = Vec::new();
        let mut goes_on = false;
        let up_to = |taken: &&Taken| self.frontier.is_some_and(|frontier| taken.id < frontier);
        for taken in self.taken.iter().take_while(up_to) {
            if taken.is_settled {
                goes_on = false;
                continue;
            }
            match open.last_mut() {
                Some((_, last)) if goes_on && !taken.after_gap => *last = taken.id,
                _ => open.push((taken.id, taken.id)),
            }
            goes_on = true;
        }
        open.extend(self.left.iter().copied());
        Position {
            frontier: self.frontier,
            open,
        }
    }

    fn compact(&mut self) {
        let mut gap = false;
        let mut kept = VecDeque::with_capacity(self.taken.len() - self.settled);
        for taken in self.taken.drain(..) {
            gap |= taken.after_gap || taken.is_settled;
            if !taken.is_settled {
                kept.push_back(Taken {
                    after_gap: gap,
                    ..taken
                });
                gap = false;
            }
        }
        if gap {
            // What is taken next comes after one.
            self.span_end = None;
        }
        self.taken = kept;
        self.settled = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(frontier: i64, open: &[(i64, i64)]) -> Position {
        Position {
            frontier: Some(frontier),
            open: open.to_vec(),
        }
    }

    fn unsettled(window: &Window) -> usize {
        window.taken.len() - window.settled
    }

    #[test]
    fn answers_may_come_in_any_order() {
        let mut window = Window::new(&Position::default());
        assert_eq!(window.ask_after(None), None);
        for id in [2, 4, 6, 8, 10] {
            assert!(window.wants(id));
            window.take(id);
        }
        assert_eq!(window.position(), Position::default());
        window.settle(8);
        assert_eq!(window.position(), at(8, &[(2, 6)]));
        window.settle(4);
        window.settle(4);
        assert_eq!(window.position(), at(8, &[(2, 2), (6, 6)]));
        window.settle(2);
        window.settle(6);
        assert_eq!(window.position(), at(8, &[]));
        assert_eq!(unsettled(&window), 1);
    }

    #[test]
    fn a_run_goes_on_where_it_was_left() {
        let left = at(100, &[(10, 14), (30, 30)]);
        let mut window = Window::new(&left);
        assert_eq!(window.position(), left);
        assert_eq!(window.ask_after(None), Some(9));
        assert_eq!(window.ask_after(Some(12)), Some(12));
        assert_eq!(window.ask_after(Some(14)), Some(29));
        assert_eq!(window.ask_after(Some(30)), Some(100));
        assert_eq!(window.ask_after(Some(120)), Some(120));
        let listed = [8, 10, 14, 16, 30, 31, 100, 102];
        let wanted: Vec<_> = listed.into_iter().filter(|id| window.wants(*id)).collect();
        assert_eq!(wanted, [10, 14, 30, 102]);
        window.take(10);
        assert_eq!(window.position(), at(100, &[(10, 10), (11, 14), (30, 30)]));
        window.take(14);
        window.take(30);
        window.take(102);
        // Not one span: what lies between the two is settled.
        assert_eq!(window.position(), at(100, &[(10, 14), (30, 30)]));
        window.settle(102);
        window.settle(14);
        assert_eq!(window.position(), at(102, &[(10, 10), (30, 30)]));
    }

    /// A driver that is killed now and then, and a server with these ids.
    struct Driven {
        server: BTreeSet<i64>,
        saved: Position,
        window: Window,
        listed: Option<i64>,
        on_the_wire: Vec<i64>,
        done: Vec<i64>,
        repeatable: usize,
    }

    impl Driven {
        fn list(&mut self) -> bool {
            let after = self.window.ask_after(self.listed);
            let above = |id: &&i64| after.is_none_or(|after| **id > after);
            let page: Vec<_> = self.server.iter().filter(above).take(5).copied().collect();
            self.listed = page.last().copied().or(self.listed);
            for id in &page {
                if self.window.wants(*id) {
                    self.window.take(*id);
                    self.on_the_wire.push(*id);
                }
            }
            !page.is_empty()
        }

        fn land(&mut self, which: usize) {
            if !self.on_the_wire.is_empty() {
                let index = which % self.on_the_wire.len();
                let id = self.on_the_wire.swap_remove(index);
                self.done.push(id);
                self.window.settle(id);
                self.saved = self.window.position();
            }
        }

        fn kill(&mut self) {
            self.repeatable += self.on_the_wire.len();
            // What is on the wire is done all the same.
            self.done.append(&mut self.on_the_wire);
            self.window = Window::new(&self.saved);
            self.listed = None;
        }
    }

    proptest! {
        #[test]
        fn nothing_is_missed_and_little_repeated(
            ids in prop::collection::btree_set(1_i64..300, 0..120),
            steps in prop::collection::vec((0_u8..20, any::<u8>()), 0..300),
        ) {
            let start = Position::default();
            let mut driven = Driven {
                server: ids.clone(),
                window: Window::new(&start),
                saved: start,
                listed: None,
                on_the_wire: Vec::new(),
                done: Vec::new(),
                repeatable: 0,
            };
            for (what, which) in steps {
                match what {
                    0 => driven.kill(),
                    1..=4 => drop(driven.list()),
                    5 => driven.window.compact(),
                    _ => driven.land(which.into()),
                }
            }
            while driven.list() || !driven.on_the_wire.is_empty() {
                driven.land(0);
            }
            let distinct: BTreeSet<_> = driven.done.iter().copied().collect();
            prop_assert_eq!(&distinct, &ids);
            prop_assert!(driven.done.len() - distinct.len() <= driven.repeatable);
            prop_assert_eq!(unsettled(&driven.window), 0);
            prop_assert_eq!(driven.saved.open, Vec::new());
        }
    }
}
