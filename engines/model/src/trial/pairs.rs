//! A short list of combinations in which every two parts of different seams meet at least once.
//!
//! All combinations are a product, and one more part behind each of eight seams multiplies it. Most
//! faults need only two parts to meet (Kuhn, Wallace, Gallo, IEEE TSE 2004), and for that the product of
//! the two largest seams is about enough:
//!
//! 1. Take a pair of parts that have not met yet: with it, a combination begins.
//! 2. Give each other seam, in order, the part that meets the most parts of the chosen ones for the
//!    first time; of several equally good ones the next in turn, so that the rest is spread too.
//! 3. Strike out all pairs of the combination; go on at step 1 until none is left.
//!
//! No chance is in it: the same parts give the same list.

use std::collections::BTreeSet;

/// A part: the number of its seam, and its own in the seam.
type At = (usize, usize);

/// Combinations of one of `sizes[seam]` parts for each seam.
pub fn covering(sizes: &[usize]) -> Vec<Vec<usize>> {
    let mut unmet = BTreeSet::new();
    for (a, b) in (0..sizes.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
        for (i, j) in (0..sizes[a]).flat_map(|i| (0..sizes[b]).map(move |j| (i, j))) {
            unmet.insert(((a, i), (b, j)));
        }
    }
    let mut combinations: Vec<Vec<usize>> = Vec::new();
    while let Some(&(first, second)) = unmet.first() {
        let turn = combinations.len();
        let mut chosen: Vec<At> = vec![first, second];
        for seam in (0..sizes.len()).filter(|&seam| seam != first.0 && seam != second.0) {
            let meets = |part: usize| {
                let part = (seam, part);
                chosen.iter().filter(|&&other| unmet.contains(&ordered(part, other))).count()
            };
            let parts = (0..sizes[seam]).map(|part| (part + turn) % sizes[seam]);
            chosen.extend(parts.max_by_key(|&part| meets(part)).map(|part| (seam, part)));
        }
        for (i, &a) in chosen.iter().enumerate() {
            for &b in &chosen[..i] {
                unmet.remove(&ordered(a, b));
            }
        }
        chosen.sort_unstable();
        combinations.push(chosen.into_iter().map(|(_, part)| part).collect());
    }
    combinations
}

fn ordered(a: At, b: At) -> (At, At) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_parts_of_different_seams_meet() {
        for sizes in [&[2, 2][..], &[3, 1, 4], &[8, 4, 2, 10, 4, 3, 2, 2], &[5; 6]] {
            let list = covering(sizes);
            for (a, b) in (0..sizes.len()).flat_map(|b| (0..b).map(move |a| (a, b))) {
                let met: BTreeSet<_> = list.iter().map(|chosen| (chosen[a], chosen[b])).collect();
                assert_eq!(met.len(), sizes[a] * sizes[b], "seams {a} and {b} of {sizes:?}");
            }
            let mut largest = sizes.to_vec();
            largest.sort_unstable_by(|a, b| b.cmp(a));
            let least = largest[0] * largest[1];
            assert!(list.len() <= least * 2, "{} combinations, at least {least}", list.len());
        }
    }
}
