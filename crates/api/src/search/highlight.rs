//! The part of a text that a search shows, cut into what was found and what stands around it. As data: a page shows it
//! without trusting it.

use std::ops::Range;

use serde::Serialize;
use utoipa::ToSchema;

/// A longer text is cut, in characters.
const MAX_CHARS: usize = 240;
/// So much of a longer text stands before what was found, in characters.
const LEAD: usize = 60;
const CUT: &str = "…";

/// A piece of a found message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(example = json!({"text": "dishwasher", "hit": true}))]
pub struct Highlight {
    /// Plain text, not HTML.
    #[schema(example = "dishwasher")]
    pub text: String,
    /// Whether it is what was looked for.
    pub hit: bool,
}

/// Cuts a text into pieces; put together they are the text, or the part of a long one around the first hit.
pub(crate) fn highlight(text: &str, hits: &[Range<usize>]) -> Vec<Highlight> {
    let window = window(text, hits.first().map_or(0, |hit| hit.start));
    let mut pieces = Vec::new();
    let mut push = |piece: Option<&str>, hit: bool| {
        if let Some(text) = piece.filter(|text| !text.is_empty()) {
            pieces.push(Highlight { text: text.to_owned(), hit });
        }
    };
    push((window.start > 0).then_some(CUT), false);
    let mut at = window.start;
    for hit in hits {
        let (start, end) = (hit.start.max(at), hit.end.min(window.end));
        if start < end {
            push(text.get(at..start), false);
            push(text.get(start..end), true);
            at = end;
        }
    }
    push(text.get(at..window.end), false);
    push((window.end < text.len()).then_some(CUT), false);
    pieces
}

/// The bytes of a text that are shown.
fn window(text: &str, first: usize) -> Range<usize> {
    if text.chars().nth(MAX_CHARS).is_none() {
        return 0..text.len();
    }
    let before = text.get(..first).unwrap_or_default();
    let start = match before.char_indices().rev().nth(LEAD) {
        None => 0,
        Some((earliest, _)) => {
            // Where a word begins, if one does.
            let lead = before.get(earliest..).unwrap_or_default();
            let gap = lead.find(char::is_whitespace).map_or(0, |at| at + 1);
            let start = earliest + gap;
            if text.is_char_boundary(start) { start } else { earliest }
        }
    };
    let rest = text.get(start..).unwrap_or_default();
    let end = rest.char_indices().nth(MAX_CHARS).map_or(text.len(), |(at, _)| start + at);
    start..end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::query::Query;
    use super::*;

    fn shown(query: &str, text: &str) -> String {
        let hits = Query::parse(query).unwrap().find(text).unwrap();
        let mark = |it: Highlight| if it.hit { format!("[{}]", it.text) } else { it.text };
        highlight(text, &hits).into_iter().map(mark).collect()
    }

    #[test]
    fn what_was_found_is_marked() {
        assert_eq!(shown("mug", "Mugs: one mug"), "[Mugs]: one [mug]");
        assert_eq!(shown("кружк син", "Синяя кружка"), "[Синяя] [кружка]");
        assert_eq!(shown("杯子", "红色杯子。"), "红色[杯子]。");
        assert_eq!(shown("cafe", "Cafe\u{301}!"), "[Cafe\u{301}]!");
        assert_eq!(shown("\"a b\" \"b c\"", "a b c <b>"), "[a b c] <b>");
        let long = format!("{}needle{}", "hay ".repeat(100), " straw".repeat(100));
        let shown = shown("needle", &long);
        assert!(shown.starts_with("…hay hay") && shown.contains("hay [needle] straw"), "{shown}");
        assert!(shown.ends_with('…') && shown.chars().count() <= MAX_CHARS + 4, "{shown}");
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_short_text_are_the_text(text in "\\PC{0,100}", query in "\\PC{1,3}") {
            let Ok(query) = Query::parse(&query) else { return Ok(()) };
            let hits = query.find(&text).unwrap_or_default();
            let pieces = highlight(&text, &hits);
            prop_assert_eq!(pieces.iter().filter(|it| it.hit).count(), hits.len());
            prop_assert_eq!(pieces.into_iter().map(|it| it.text).collect::<String>(), text);
        }

        #[test]
        fn a_long_text_is_cut_where_it_may_be(text in "(\\PC| ){200,600}", query in "\\PC{1,2}") {
            let Ok(query) = Query::parse(&query) else { return Ok(()) };
            let Some(hits) = query.find(&text) else { return Ok(()) };
            let pieces = highlight(&text, &hits);
            prop_assert!(pieces.iter().any(|it| it.hit));
            let length: usize = pieces.iter().map(|it| it.text.chars().count()).sum();
            prop_assert!(length <= MAX_CHARS + 2);
        }
    }
}
