//! Texts whose lines were folded by the mail program (`format=flowed`, RFC 3676): Apple Mail and Thunderbird among others.

/// One line for each paragraph. What is quoted begins with `>`, and a line of the author's that begins with that itself, with a space.
#[must_use]
pub(super) fn unfolded(text: &str, deletes_space: bool) -> String {
    let mut paragraphs: Vec<String> = Vec::new();
    // How deep the paragraph is quoted that goes on.
    let mut open = None;
    for line in text.lines() {
        let line = line.trim_end_matches('\r');
        let rest = line.trim_start_matches('>');
        let depth = line.len() - rest.len();
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        let is_signature = rest == "-- ";
        let goes_on = rest.ends_with(' ') && !rest.trim().is_empty() && !is_signature;
        let part = rest.strip_suffix(' ').filter(|_| goes_on && deletes_space).unwrap_or(rest);
        match paragraphs.last_mut() {
            Some(paragraph) if open == Some(depth) && !is_signature => paragraph.push_str(part),
            _ if depth > 0 => paragraphs.push(format!("> {part}")),
            _ if part.starts_with('>') => paragraphs.push(format!(" {part}")),
            _ => paragraphs.push(part.to_owned()),
        }
        open = goes_on.then_some(depth);
    }
    paragraphs.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn folded_lines_become_paragraphs_again() {
        for (text, unfolded_text) in [
            ("one \r\ntwo\r\nthree\r\n", "one two\nthree"),
            ("one \n\ntwo", "one \ntwo"),
            (" From here\n >5 kg\n  indented", "From here\n >5 kg\n indented"),
            ("> is it \n> blue?\n>> deep \n> not\nyes", "> is it blue?\n> deep \n> not\nyes"),
            ("own \n> quoted \nown", "own \n> quoted \nown"),
            ("text \n-- \nBob", "text \n-- \nBob"),
            ("", ""),
        ] {
            assert_eq!(unfolded(text, false), unfolded_text, "{text:?}");
        }
        assert_eq!(unfolded("日本 \n語\n> い \n> ろ", true), "日本語\n> いろ");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_panics(text in "([a-zж]| |\n|>|-- |\r){0,60}") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            for deletes_space in [false, true] {
                prop_assert_eq!(letters(&unfolded(&text, deletes_space)), letters(&text));
            }
        }
    }
}
