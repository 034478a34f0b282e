//! Puts `***` in the place of what was found, and leaves every other byte as it is.

use std::ops::Range;

/// What stands in the place of what was found.
pub const MASK: &str = "***";

pub(crate) fn contains(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// A text of which parts are hidden.
#[derive(Debug)]
pub(crate) struct Masked<'a> {
    original: &'a str,
    /// The hidden bytes of the original, in order, apart from each other.
    hidden: Vec<Range<usize>>,
    text: String,
}

impl<'a> Masked<'a> {
    pub(crate) fn new(original: &'a str) -> Self {
        Self { original, hidden: Vec::new(), text: original.to_owned() }
    }

    /// Hides these bytes of the original as well.
    pub(crate) fn hide<'r>(&mut self, ranges: impl Iterator<Item = &'r Range<usize>>) {
        self.hidden.extend(ranges.cloned());
        self.hidden.sort_by_key(|range| range.start);
        let mut merged: Vec<Range<usize>> = Vec::with_capacity(self.hidden.len());
        for range in self.hidden.drain(..) {
            match merged.last_mut() {
                // Those that touch, too: one secret is one mask.
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        self.hidden = merged;
        self.text.clear();
        let mut from = 0;
        for range in &self.hidden {
            self.text.push_str(self.original.get(from..range.start).unwrap_or_default());
            self.text.push_str(MASK);
            from = range.end;
        }
        self.text.push_str(self.original.get(from..).unwrap_or_default());
    }

    pub(crate) fn has_masks(&self) -> bool {
        !self.hidden.is_empty()
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// Whether these bytes of the masked text are nothing but a mask.
    pub(crate) fn is_hidden(&self, range: &Range<usize>) -> bool {
        self.text.get(range.clone()).is_some_and(|it| it.chars().all(|c| c == '*'))
    }

    /// The bytes of the original behind bytes of the masked text; a mask that is touched counts as a whole.
    pub(crate) fn original(&self, range: &Range<usize>) -> Range<usize> {
        let (mut removed, mut start, mut end) = (0_usize, None, None);
        let mut shift = 0_usize;
        for hidden in &self.hidden {
            // Where the mask stands in the masked text: what came before is shorter by `removed` and longer by `shift`.
            let at = hidden.start + shift - removed;
            let mask = at..at + MASK.len();
            if start.is_none() && range.start < mask.end {
                let here = range.start + removed - shift;
                start = Some(if range.start < mask.start { here } else { hidden.start });
            }
            if end.is_none() && range.end <= mask.end {
                let here = range.end + removed - shift;
                end = Some(if range.end <= mask.start { here } else { hidden.end });
            }
            removed += hidden.len();
            shift += MASK.len();
        }
        let rest = |at: usize| at + removed - shift;
        start.unwrap_or_else(|| rest(range.start))..end.unwrap_or_else(|| rest(range.end))
    }
}
