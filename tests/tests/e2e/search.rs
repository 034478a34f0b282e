//! Searching in what was said.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Api, Scene, until};
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, ids};

stories!(
    b3_a_person_finds_what_was_said_in_any_language,
    b3_finds_are_paged_filtered_and_highlighted,
    b3_the_index_is_made_behind_the_posts_and_again_after_a_restore,
    b3_what_is_changed_or_taken_back_is_found_no_more,
    b3_nobody_finds_what_is_not_theirs,
    b3_the_list_of_threads_takes_the_same_words,
    b3_words_that_cannot_be_meant_are_refused,
    r7_an_administrator_searches_all_messages,
);

async fn results(who: &Api, query: &[(&str, &str)]) -> Result<Value> {
    let request = who.request(reqwest::Method::GET, "/v1/search").query(query);
    who.send(request).await?.expect(200)
}

/// The texts of the messages that are found.
async fn found(who: &Api, q: &str) -> Result<Vec<String>> {
    let page = results(who, &[("q", q), ("limit", "100")]).await?;
    ensure!(page["next_cursor"].is_null(), "{page}");
    let results = page["results"].as_array().context("no results")?;
    let text = |it: &Value| it["message"]["text"].as_str().unwrap_or_default().to_owned();
    Ok(results.iter().map(text).collect())
}

async fn b3_a_person_finds_what_was_said_in_any_language(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let texts = [
        "Is the blue mug dishwasher-safe? My order is A-1001.",
        "Синяя кружка ещё есть? Мой заказ A-1002",
        "Щиро дякую, їжак щасливий",
        "Viele Grüße aus der Schönhauser Straße",
        "红色的杯子可以放进洗碗机吗？",
        "コーヒーカップはありますか",
        "아이스커피 두 잔 주세요",
        "أريد قهوة ساخنة",
        "Write to anna@example.com 👍",
    ];
    for text in texts {
        cast.buyer.say(thread, text).await?;
    }
    for (q, expected) in [
        ("mug", vec![0]),
        ("MU", vec![0]),
        ("safe blue", vec![0]),
        ("\"blue mug\"", vec![0]),
        ("\"mug blue\"", vec![]),
        ("A-1001", vec![0]),
        ("1002", vec![1]),
        ("a-10", vec![1, 0]),
        ("кружк", vec![1]),
        ("еще", vec![1]),
        ("дякую", vec![2]),
        ("grüsse", vec![3]),
        ("strasse schon", vec![3]),
        ("杯子", vec![4]),
        ("洗碗机", vec![4]),
        ("红", vec![4]),
        ("子杯", vec![]),
        ("カップ", vec![5]),
        ("커피", vec![6]),
        ("قهوة", vec![7]),
        ("anna@example.com", vec![8]),
        ("👍", vec![8]),
        ("' OR 1=1 --", vec![]),
        ("nothing of the kind", vec![]),
    ] {
        let expected: Vec<&str> = expected.into_iter().map(|number: usize| texts[number]).collect();
        for person in [&cast.buyer, &cast.seller] {
            assert_eq!(found(person, q).await?, expected, "{q}");
        }
    }
    Ok(())
}

async fn b3_finds_are_paged_filtered_and_highlighted(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (one, two) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let mut said = Vec::new();
    for number in 0..7 {
        let thread = if number % 2 == 0 { one } else { two };
        said.push(id_of(&cast.buyer.say(thread, &format!("<b>Mugs</b> no. {number}")).await?)?);
    }
    said.reverse();
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut query = vec![("q", "mug"), ("limit", "3")];
        if !cursor.is_empty() {
            query.push(("cursor", &cursor));
        }
        let page = results(&cast.buyer, &query).await?;
        let results = page["results"].as_array().context("no results")?;
        ensure!(results.len() <= 3, "{page}");
        for result in results {
            paged.push(id_of(&result["message"])?);
            assert_eq!(result["thread"]["id"], result["message"]["thread_id"]);
            assert_eq!(result["thread"]["vendor"]["name"], "Vendor One");
            let number = 6 - (paged.len() - 1);
            let pieces = json!([
                {"text": "<b>", "hit": false}, {"text": "Mugs", "hit": true},
                {"text": format!("</b> no. {number}"), "hit": false}
            ]);
            assert_eq!(result["highlights"], pieces);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(paged, said);

    let count = async |who: &Api, name: &str, value: &str| -> Result<usize> {
        let page = results(who, &[("q", "mug"), (name, value)]).await?;
        Ok(page["results"].as_array().map_or(0, Vec::len))
    };
    for (name, value, expected) in [
        ("vendor_id", "v1", 7),
        ("vendor_id", "v2", 0),
        ("customer_id", "buyer", 7),
        ("customer_id", "outsider", 0),
        ("subject_type", "product", 7),
        ("subject_type", "order", 0),
        ("status", "open", 7),
        ("status", "closed", 0),
        ("flagged", "false", 7),
        ("flagged", "true", 0),
        ("created_after", "2020-01-01T00:00:00Z", 7),
        ("created_before", "2020-01-01T00:00:00Z", 0),
    ] {
        for who in [&cast.buyer, &cast.seller, &cast.boss] {
            assert_eq!(count(who, name, value).await?, expected, "{} {name}={value}", who.id);
        }
    }
    assert_eq!(count(&cast.seller, "unread", "true").await?, 7);
    cast.seller.post(&format!("/v1/threads/{one}/read"), json!({"up_to": said[0]})).await?;
    assert_eq!(count(&cast.seller, "unread", "true").await?, 3);
    assert_eq!(count(&cast.seller, "unread", "false").await?, 4);
    Ok(())
}

async fn b3_the_index_is_made_behind_the_posts_and_again_after_a_restore(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (one, other) = (cast.thread("p1").await?, cast.thread("p2").await?);
    // More than are worth a commit.
    for number in (0..300).step_by(50) {
        let says = (number..number + 50).map(|number| {
            let (buyer, thread) = (&cast.buyer, if number % 2 == 0 { one } else { other });
            async move {
                buyer.say(thread, &format!("message {number} красная кружка")).await
            }
        });
        for said in futures_util::future::join_all(says).await {
            said?;
        }
    }
    let position = "SELECT value FROM counters WHERE name = 'search'";
    let database = &cast.stack.database;
    until("the index is made", async || Ok(database.number(position).await? >= 256)).await?;
    cast.buyer.say(one, "message 300 красная кружка").await?;
    let whole = async |who: &Api| -> Result<()> {
        for number in [0, 7, 255, 256, 299, 300] {
            let text = format!("message {number} красная кружка");
            assert_eq!(found(who, &format!("{number} кружк")).await?, [text]);
        }
        Ok(())
    };
    whole(&cast.seller).await?;

    // The index is no part of a backup; what is restored is found at once, and indexed again.
    let path = scene.folder().join("search.db");
    let backup = path.display().to_string();
    cast.stack.command(&["backup", &backup])?.run().await?;
    cast.stack.command(&["restore", "--force", &backup])?.run().await?;
    whole(&cast.seller).await?;
    cast.buyer.say(one, "message 301").await?;
    until("it is made again", async || Ok(database.number(position).await? >= 256)).await?;
    whole(&cast.seller).await
}

async fn b3_what_is_changed_or_taken_back_is_found_no_more(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let apple = id_of(&cast.buyer.say(thread, "an apple").await?)?;
    let cherry = id_of(&cast.buyer.say(thread, "a cherry").await?)?;
    let changed = json!({"text": "a pear"});
    cast.buyer.patch(&format!("/v1/messages/{apple}"), changed).await?.expect(200)?;
    cast.buyer.delete(&format!("/v1/messages/{cherry}")).await?.expect(204)?;
    for person in [&cast.buyer, &cast.seller, &cast.boss] {
        assert_eq!(found(person, "apple").await?, [""; 0]);
        assert_eq!(found(person, "cherry").await?, [""; 0]);
        assert_eq!(found(person, "pear").await?, ["a pear"]);
    }
    // What was masked is found by nobody, the author included.
    cast.shop.post("/v1/forbidden-words", json!({"phrase": "durian"})).await?.expect(201)?;
    cast.buyer.say(thread, "a durian, too").await?;
    for person in [&cast.buyer, &cast.seller, &cast.boss] {
        assert_eq!(found(person, "durian").await?, [""; 0]);
        assert_eq!(found(person, "too").await?, ["a ***, too"]);
    }
    Ok(())
}

async fn b3_nobody_finds_what_is_not_theirs(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "a secret kumquat").await?;
    let support = json!({"subject": {"type": "support", "id": "support"},
        "message": {"text": "help with my kumquat"}});
    cast.buyer.post("/v1/threads", support).await?.expect(201)?;
    let both = ["help with my kumquat", "a secret kumquat"];
    assert_eq!(found(&cast.buyer, "kumquat").await?, both);
    assert_eq!(found(&cast.seller, "kumquat").await?, both[1..]);
    assert_eq!(found(&cast.helper, "kumquat").await?, both[..1]);
    for stranger in [&cast.outsider, &cast.rival] {
        for query in [
            vec![("q", "kumquat")],
            vec![("q", "kumquat"), ("customer_id", "buyer")],
            vec![("q", "kumquat"), ("vendor_id", "v1"), ("limit", "1")],
        ] {
            let page = results(stranger, &query).await?;
            assert_eq!(page, json!({"results": [], "next_cursor": null}), "{query:?}");
        }
        let list = stranger.get("/v1/threads?q=kumquat").await?.expect(200)?;
        assert_eq!(list, json!({"threads": [], "next_cursor": null}));
    }
    cast.clerk.get("/v1/search?q=kumquat").await?.refused(403, "manage_messages_required")?;
    cast.stack.anonymous()?.get("/v1/search?q=kumquat").await?.refused(401, "unauthenticated")?;
    cast.shop.get("/v1/search?q=kumquat").await?.refused(422, "acting_user_required")?;
    assert_eq!(found(&cast.shop.acting("seller"), "kumquat").await?, both[1..]);
    Ok(())
}

async fn b3_the_list_of_threads_takes_the_same_words(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let mut threads = Vec::new();
    for (product, text) in [("p1", "a red mug"), ("p2", "a blue mug"), ("p3", "a spoon")] {
        let thread = cast.thread(product).await?;
        cast.buyer.say(thread, text).await?;
        threads.push(thread);
    }
    // The latest activity counts, not the latest find.
    cast.seller.say(threads[0], "Yes!").await?;
    let list = async |q: &str| -> Result<Vec<i64>> {
        let request = cast.buyer.request(reqwest::Method::GET, "/v1/threads").query(&[("q", q)]);
        Ok(ids(&cast.buyer.send(request).await?.expect(200)?["threads"]))
    };
    assert_eq!(list("mug").await?, [threads[0], threads[1]]);
    assert_eq!(list("\"blue mug\"").await?, [threads[1]]);
    assert_eq!(list("mug yes").await?, [0; 0], "in one message");
    let page = cast.buyer.get("/v1/threads?q=mug&limit=1").await?.expect(200)?;
    assert_eq!(ids(&page["threads"]), [threads[0]]);
    let cursor = page["next_cursor"].as_str().context("no cursor")?;
    let page = cast.buyer.get(&format!("/v1/threads?q=mug&limit=1&cursor={cursor}")).await?;
    let page = page.expect(200)?;
    assert_eq!((ids(&page["threads"]), &page["next_cursor"]), (vec![threads[1]], &Value::Null));
    let unread = cast.buyer.get("/v1/threads?q=mug&unread=true").await?.expect(200)?;
    assert_eq!(ids(&unread["threads"]), [threads[0]]);
    Ok(())
}

async fn b3_words_that_cannot_be_meant_are_refused(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let long = "x".repeat(201);
    let many =
        String::from("a ") + &(0..20).map(|it| format!("w{it}")).collect::<Vec<_>>().join(" ");
    for path in ["/v1/search", "/v1/threads"] {
        for q in ["", " ", "\"", "***", "?!", &long, &many] {
            let request = cast.buyer.request(reqwest::Method::GET, path).query(&[("q", q)]);
            let problem = cast.buyer.send(request).await?.refused(422, "invalid_request")?;
            assert_eq!(problem["errors"][0]["parameter"], "q", "{q}: {problem}");
        }
    }
    for path in [
        "/v1/search",
        "/v1/search?q=x&colour=red",
        "/v1/search?q=x&cursor=y",
        "/v1/search?q=x&limit=0",
        "/v1/search?q=x&status=odd",
    ] {
        cast.buyer.get(path).await?.refused(422, "invalid_request")?;
    }
    Ok(())
}

async fn r7_an_administrator_searches_all_messages(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let (one, other) = (cast.thread("p1").await?, cast.thread_of("outsider", "p1").await?);
    cast.buyer.say(one, "one kumquat").await?;
    cast.outsider.say(other, "another kumquat").await?;
    assert_eq!(found(&cast.boss, "kumquat").await?, ["another kumquat", "one kumquat"]);
    let page = results(&cast.boss, &[("q", "kumquat"), ("customer_id", "buyer")]).await?;
    assert_eq!(page["results"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["results"][0]["thread"]["customer"]["name"], "Bea Buyer");
    Ok(())
}
