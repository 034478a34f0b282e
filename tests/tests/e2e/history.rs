//! A thread's history, page by page in every direction.

use anyhow::{Context, Result};
use chaffer_tests::{Api, Scene};
use serde_json::Value;

use crate::cast::{Cast, ids};

stories!(
    pages_lead_back_from_the_newest,
    pages_lead_on_from_the_first,
    pages_before_after_and_around_a_message,
    an_empty_thread_has_an_empty_page,
    a_cursor_of_one_thread_is_none_of_another,
);

/// Posts messages `0` to `count - 1`; returns their ids.
async fn talk(cast: &Cast, thread: i64, count: usize) -> Result<Vec<i64>> {
    let mut posted = Vec::new();
    for number in 0..count {
        let who = if number % 3 == 0 { &cast.seller } else { &cast.buyer };
        posted.push(crate::cast::id_of(&who.say(thread, &number.to_string()).await?)?);
    }
    Ok(posted)
}

/// All pages from one on, following the cursor.
async fn pages(api: &Api, thread: i64, query: &str) -> Result<Vec<Vec<i64>>> {
    let path = format!("/v1/threads/{thread}/messages");
    let (mut all, mut next) = (Vec::new(), format!("{path}?{query}"));
    loop {
        let page = api.get(&next).await?.expect(200)?;
        all.push(ids(&page["messages"]));
        match &page["next_cursor"] {
            Value::Null => return Ok(all),
            cursor => {
                let cursor = cursor.as_str().context("the cursor is a text")?;
                let limit = query.split('&').find(|part| part.starts_with("limit")).unwrap_or("");
                next = format!("{path}?{limit}&cursor={cursor}");
            }
        }
    }
}

async fn pages_lead_back_from_the_newest(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let noise = cast.thread("p2").await?;
    let posted = talk(&cast, thread, 4).await?;
    talk(&cast, noise, 3).await?;
    let posted = [posted, talk(&cast, thread, 3).await?].concat();
    let back = pages(&cast.buyer, thread, "limit=3").await?;
    assert_eq!(back, [&posted[4..7], &posted[1..4], &posted[0..1]]);
    let whole = pages(&cast.seller, thread, "limit=100").await?;
    assert_eq!(whole, [&posted[..]]);
    // A page that is just full does not lead on to an empty one.
    assert_eq!(pages(&cast.seller, thread, "limit=7").await?, [&posted[..]]);
    // What is written while somebody leafs back does not shift the pages.
    let path = format!("/v1/threads/{thread}/messages");
    let first = cast.buyer.get(&format!("{path}?limit=3")).await?.expect(200)?;
    talk(&cast, thread, 2).await?;
    let cursor = first["next_cursor"].as_str().context("no cursor")?;
    let second = cast.buyer.get(&format!("{path}?limit=3&cursor={cursor}")).await?.expect(200)?;
    assert_eq!(ids(&second["messages"]), &posted[1..4]);
    Ok(())
}

async fn pages_lead_on_from_the_first(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let posted = talk(&cast, thread, 7).await?;
    let on = pages(&cast.buyer, thread, "after=0&limit=3").await?;
    assert_eq!(on.concat(), posted);
    assert_eq!(&on[0], &posted[0..3]);
    Ok(())
}

async fn pages_before_after_and_around_a_message(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let posted = talk(&cast, thread, 9).await?;
    let middle = posted[4];
    let before = pages(&cast.buyer, thread, &format!("before={middle}&limit=3")).await?;
    assert_eq!(before[0], &posted[1..4]);
    assert_eq!(before[1], &posted[0..1]);
    let after = pages(&cast.buyer, thread, &format!("after={middle}&limit=3")).await?;
    assert_eq!(after.concat(), &posted[5..]);
    let path = format!("/v1/threads/{thread}/messages?around={middle}&limit=5");
    let around = ids(&cast.buyer.get(&path).await?.expect(200)?["messages"]);
    assert_eq!(around, &posted[2..7]);
    for edge in [posted[0], posted[8]] {
        let path = format!("/v1/threads/{thread}/messages?around={edge}&limit=5");
        let around = ids(&cast.buyer.get(&path).await?.expect(200)?["messages"]);
        assert!(around.contains(&edge) && around.len() <= 5, "{around:?}");
        assert!(around.windows(2).all(|pair| pair[0] < pair[1]), "{around:?}");
    }
    Ok(())
}

async fn an_empty_thread_has_an_empty_page(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    for query in ["", "after=0", "before=99999", "limit=1"] {
        assert_eq!(pages(&cast.buyer, thread, query).await?, [Vec::<i64>::new()], "{query}");
    }
    Ok(())
}

async fn a_cursor_of_one_thread_is_none_of_another(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let mine = cast.thread_of("outsider", "p1").await?;
    let thread = cast.thread("p1").await?;
    talk(&cast, thread, 5).await?;
    cast.outsider.say(mine, "own").await?;
    let page =
        cast.buyer.get(&format!("/v1/threads/{thread}/messages?limit=2")).await?.expect(200)?;
    let cursor = page["next_cursor"].as_str().context("no cursor")?;
    let path = format!("/v1/threads/{mine}/messages?limit=2&cursor={cursor}");
    let answer = cast.outsider.get(&path).await?;
    let shown = ids(&answer.body["messages"]);
    let own = cast.outsider.get(&format!("/v1/threads/{mine}/messages")).await?.expect(200)?;
    assert!(shown.iter().all(|id| ids(&own["messages"]).contains(id)), "{answer}");
    Ok(())
}
