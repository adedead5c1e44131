//! The name that was probably meant.

/// The nearest of the known names, where one is near.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > 64 {
        return None;
    }
    let text = text.to_lowercase();
    let limit = (text.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|name| (distance(&text, &name.to_lowercase()), name));
    near.filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How many characters must be added, dropped, replaced or swapped with their neighbour.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=two.len()).collect();
    let mut last = None;
    for (row, a) in one.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, b) in two.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&above, column) + usize::from(a != *b))
                .min(at(&above, column + 1) + 1)
                .min(at(&current, column) + 1);
            let swapped = column > 0 && last == Some(*b) && two.get(column - 1) == Some(&a);
            if swapped {
                best = best.min(at(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
        last = Some(a);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        assert_eq!(nearest("opneai", ["anthropic", "openai"]), Some("openai"));
        assert_eq!(nearest("statik", ["static", "dynamic"]), Some("static"));
        assert_eq!(nearest("allowed_path", ["allowed_paths", "denied_paths"]), Some("allowed_paths"));
        assert_eq!(nearest("banana", ["static", "dynamic"]), None);
    }
}
