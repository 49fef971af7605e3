//! Short lists, sets and maps in order, with little code.
//!
//! The standard library's sorts, which `collect` into a `BTreeMap` or a `BTreeSet` uses as well, are 4 to 7 kB of code
//! for each type that is sorted. Here all types share one sort, whose comparisons cost a call more. The lists of a host
//! have some dozens of items, and nothing sorts for each line.

use std::cmp::Ordering;

/// `collect` for a map or a set. Of two entries with the same key the later one counts, as with `collect`.
pub fn gather<C: Default + Extend<I>, I>(items: impl IntoIterator<Item = I>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}

/// `sort` for a slice.
pub fn sort<T: Ord>(items: &mut [T]) {
    sort_by(items, T::cmp);
}

/// `sort_by` for a slice: items that are equal keep their order.
pub fn sort_by<T>(items: &mut [T], compare: impl Fn(&T, &T) -> Ordering) {
    let swaps = swaps(items.len(), &|one, other| compare(&items[one], &items[other]));
    for (place, with) in swaps.into_iter().enumerate() {
        items.swap(place, with);
    }
}

/// What to swap each item with, one after the other, so that they are in order then. `compare` compares two items by
/// their places before that.
fn swaps(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|one, other| compare(*one, *other));
    // Which item each place has, and which place each item has.
    let mut items: Vec<usize> = (0..count).collect();
    let mut places = items.clone();
    for (place, wanted) in order.iter_mut().enumerate() {
        let (from, moved) = (places[*wanted], items[place]);
        items[from] = moved;
        places[moved] = from;
        *wanted = from;
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn maps_and_sets_are_those_of_collect() {
        let pairs = [("b", 1), ("a", 2), ("b", 3)];
        let map: BTreeMap<&str, i32> = gather(pairs);
        assert_eq!(map, BTreeMap::from([("a", 2), ("b", 3)]));
        let set: BTreeSet<&str> = gather(pairs.map(|(name, _)| name));
        assert_eq!(set, BTreeSet::from(["a", "b"]));
    }

    proptest! {
        #[test]
        fn lists_are_those_of_sort(items: Vec<(u8, u8)>) {
            let (mut wanted, mut sorted) = (items.clone(), items.clone());
            wanted.sort();
            sort(&mut sorted);
            prop_assert_eq!(&sorted, &wanted);
            let (mut wanted, mut sorted) = (items.clone(), items);
            wanted.sort_by_key(|(first, _)| *first);
            sort_by(&mut sorted, |one, other| one.0.cmp(&other.0));
            prop_assert_eq!(sorted, wanted);
        }
    }
}
