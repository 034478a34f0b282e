//! Who floods is refused, knows until when, and hinders nobody else.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, PATIENCE, Scene, Setup, eventually};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::cast::{Cast, texts};

stories!(
    limits_are_told_and_hold_for_each_user_and_address,
    limits_are_told_on_preflights_which_take_nothing_of_the_calls,
    limits_refuse_a_flood_in_one_thread_which_can_be_sent_again,
    limits_keep_the_visitors_of_one_address_from_flooding_the_operators,
);

fn number(answer: &Answer, name: &str) -> Result<u64> {
    let text = answer.header(name).with_context(|| format!("no {name}: {answer}"))?;
    text.parse().with_context(|| format!("{name}: {text}"))
}

/// What the headers of an answer tell: the limit, what is left, and when it is whole again.
fn standing(answer: &Answer) -> Result<(u64, u64, u64)> {
    let of = |name: &str| number(answer, &format!("x-ratelimit-{name}"));
    Ok((of("limit")?, of("remaining")?, of("reset")?))
}

/// Checks that an answer is a whole refusal.
fn is_refused(answer: Answer, code: &str) -> Result<()> {
    assert_eq!(standing(&answer)?.1, 0);
    let wait = number(&answer, "retry-after")?;
    ensure!((1..=5).contains(&wait), "{answer}");
    let problem = answer.refused(429, code)?;
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(detail.ends_with(&format!("; try again in {wait} seconds.")), "{detail}");
    Ok(())
}

async fn limits_are_told_and_hold_for_each_user_and_address(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("api.allowed_origins", vec!["https://shop.example"])
        .set("limits.calls_per_minute", 12)
        .set("limits.calls_per_minute_per_address", 12);
    let cast = Cast::with(scene, setup).await?;
    let anonymous = cast.stack.anonymous()?;
    // On every answer, whoever asks and whatever comes of it.
    for answer in [
        cast.shop.get("/v1/vendors/v1").await?,
        cast.shop.acting("buyer").get("/v1/threads").await?,
        cast.buyer.get("/v1/threads/99").await?,
        cast.buyer.post("/v1/threads", json!({"no": 1})).await?,
        anonymous.get("/healthz").await?,
        anonymous.get("/v1/threads").await?,
        anonymous.get("/nowhere").await?,
        anonymous.get("/v1/users/%ff").await?,
    ] {
        let (limit, remaining, _) = standing(&answer)?;
        ensure!(remaining < limit, "{answer}");
    }
    // Five minutes' worth at once.
    let (limit, before, _) = standing(&cast.seller.get("/v1/unread").await?)?;
    let (_, after, reset) = standing(&cast.seller.get("/v1/unread").await?)?;
    ensure!(
        limit == 60 && before < limit && after <= before && reset > 0,
        "{limit} {before} {after} {reset}"
    );

    let answers = join_all((0..70).map(|_| cast.buyer.get("/v1/unread"))).await;
    let last = answers.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = last.into_iter().find(|answer| answer.status == 429).context("no end to it")?;
    is_refused(refused, "too_many_calls")?;
    // Others of the same address are not concerned, nor is the shop when it speaks for the same person.
    cast.seller.get("/v1/unread").await?.expect(200)?;
    cast.shop.acting("buyer").get("/v1/unread").await?.expect(200)?;

    // A stranger behind the proxy, with as many addresses as an IPv6 network has.
    let from = |address: &str| anonymous.with("X-Forwarded-For", address);
    let calls = (0..70).map(|n| {
        let stranger = from(&format!("2001:db8:1:2::{n}"));
        async move { stranger.with("Origin", "https://shop.example").get("/healthz").await }
    });
    let answers = join_all(calls).await.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = answers.into_iter().find(|answer| answer.status == 429).context("no end")?;
    // A page can read why.
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://shop.example"));
    let exposed = refused.header("access-control-expose-headers").unwrap_or_default();
    for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
        ensure!(exposed.to_lowercase().contains(name), "{exposed}");
    }
    is_refused(refused, "too_many_calls")?;
    from("2001:db8:1:3::1").get("/healthz").await?.expect(200)?;
    from("6.6.6.6").get("/healthz").await?.expect(200)?;
    anonymous.get("/healthz").await?.expect(200)?;
    let metrics = anonymous.get("/metrics").await?.text;
    for limit in ["user", "address"] {
        let counted = format!("chaffer_api_limited_total{{limit=\"{limit}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&counted));
        ensure!(line.is_some_and(|count| count != "0"), "{metrics}");
    }
    Ok(())
}

async fn limits_are_told_on_preflights_which_take_nothing_of_the_calls(
    scene: &Scene,
) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("api.allowed_origins", vec!["https://shop.example"])
        .set("limits.calls_per_minute_per_address", 12);
    let cast = Cast::with(scene, setup).await?;
    let from = |address: &str| -> Result<_> {
        Ok(cast.stack.anonymous()?.with("X-Forwarded-For", address))
    };
    let (page, other) = (from("6.6.6.6")?, from("7.7.7.7")?);
    let asks = |page: Api, origin: &'static str| async move {
        let call = page.request(Method::OPTIONS, "/v1/threads").header("Origin", origin);
        let call = call.header("Access-Control-Request-Method", "POST");
        page.send(call.header("Access-Control-Request-Headers", "authorization")).await
    };
    let answer = asks(page.clone(), "https://shop.example").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
    assert_eq!(standing(&answer)?, (60, 59, 5));
    // Also where the answer is no.
    let answer = asks(page.clone(), "https://evil.example").await?;
    ensure!(answer.status == 400 && standing(&answer)?.1 < 60, "{answer}");
    answer.refused(400, "origin_not_allowed")?;

    let answers = join_all((0..70).map(|_| asks(page.clone(), "https://shop.example"))).await;
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = answers.into_iter().find(|it| it.status == 429).context("no end to it")?;
    is_refused(refused, "too_many_calls")?;
    // The calls of that page have all that they had, and other addresses ask on.
    let (limit, remaining, _) = standing(&page.get("/healthz").await?)?;
    assert_eq!((limit, remaining), (60, 59));
    assert_eq!(asks(other, "https://shop.example").await?.status, 200);
    Ok(())
}

async fn limits_refuse_a_flood_in_one_thread_which_can_be_sent_again(scene: &Scene) -> Result<()> {
    let setup = Setup::new(scene)?.set("limits.messages_per_minute_per_thread", 12);
    let cast = Cast::with(scene, setup).await?;
    let (thread, other) = (cast.thread("p1").await?, cast.thread("p2").await?);
    let path = format!("/v1/threads/{thread}/messages");
    let draft = |n: usize| json!({"text": format!("buy {n}"), "client_id": format!("flood-{n}")});
    let answers = join_all((0..70).map(|n| cast.buyer.post(&path, draft(n)))).await;
    let mut refused = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        let answer = answer?;
        if answer.status == 429 {
            is_refused(answer, "too_many_messages")?;
            refused.push(n);
        } else {
            answer.expect(201)?;
        }
    }
    ensure!((1..=10).contains(&refused.len()), "{} of 70 were refused", refused.len());
    // To change what one has written costs as much.
    let said = cast.buyer.say(other, "first thoughts").await?;
    let change = |n: usize| json!({"text": format!("thoughts {n}")});
    let message = format!("/v1/messages/{}", said["id"]);
    let answers = join_all((0..70).map(|n| cast.buyer.patch(&message, change(n)))).await;
    let refused_changes = answers
        .into_iter()
        .map(|answer| match answer? {
            answer if answer.status == 429 => is_refused(answer, "too_many_messages").map(|()| 1),
            answer => answer.expect(200).map(|_| 0),
        })
        .sum::<Result<usize>>()?;
    ensure!((1..=10).contains(&refused_changes), "{refused_changes} of 70 were refused");
    // Another thread, another person, and the shop's backend are not concerned.
    cast.buyer.say(other, "here I may").await?;
    cast.seller.say(thread, "what is it?").await?;
    cast.shop.acting("buyer").post(&path, json!({"text": "for the buyer"})).await?.expect(201)?;
    // What was refused is nowhere, and the same message is taken when its time has come, once.
    let again = *refused.first().context("nothing was refused")?;
    let text = format!("buy {again}");
    let page = cast.buyer.get(&format!("{path}?limit=100")).await?.expect(200)?;
    ensure!(!texts(&page["messages"]).contains(&text.as_str()), "{text} was written");
    for status in [201, 200] {
        eventually("it is taken", PATIENCE, async || {
            let answer = cast.buyer.post(&path, draft(again)).await?;
            if answer.status == 429 {
                return Ok(None);
            }
            answer.expect(status).map(Some)
        })
        .await?;
    }
    let page = cast.buyer.get(&format!("{path}?limit=100")).await?.expect(200)?;
    let count = texts(&page["messages"]).iter().filter(|it| **it == text).count();
    assert_eq!(count, 1);
    Ok(())
}

async fn limits_keep_the_visitors_of_one_address_from_flooding_the_operators(
    scene: &Scene,
) -> Result<()> {
    let setup = Setup::new(scene)?
        .set("limits.visitor_threads_per_minute_per_address", 12)
        .set("limits.messages_per_minute_per_thread", 13);
    let cast = Cast::with(scene, setup).await?;
    let from = |address: &str| -> Result<_> {
        Ok(cast.stack.anonymous()?.with("X-Forwarded-For", address))
    };
    let (bot, other) = (from("6.6.6.6")?, from("7.7.7.7")?);
    let ask = json!({"subject": {"type": "support", "id": "support"}});
    let visitors = join_all((0..70).map(|_| bot.visitor(json!({}))));
    let visitors = visitors.await.into_iter().collect::<Result<Vec<_>>>()?;
    let answers = join_all(visitors.iter().map(|it| it.post("/v1/threads", ask.clone()))).await;
    let mut started = Vec::new();
    for (visitor, answer) in visitors.iter().zip(answers) {
        let answer = answer?;
        if answer.status == 429 {
            is_refused(answer, "too_many_threads")?;
        } else {
            started.push((visitor, crate::cast::id_of(&answer.expect(201)?)?));
        }
    }
    ensure!((60..70).contains(&started.len()), "{} were started", started.len());
    // Who is another person with each message writes no more for that.
    let messages = started.iter().chain(&started).map(|(visitor, thread)| {
        let path = format!("/v1/threads/{thread}/messages");
        async move { visitor.post(&path, json!({"text": "buy"})).await }
    });
    let answers = join_all(messages).await.into_iter().collect::<Result<Vec<_>>>()?;
    let refused = answers.into_iter().find(|it| it.status == 429).context("no end to it")?;
    is_refused(refused, "too_many_messages")?;
    // Others are not concerned.
    let visitor = other.visitor(json!({})).await?;
    let thread = visitor.post("/v1/threads", ask.clone()).await?.expect(201)?;
    visitor.say(crate::cast::id_of(&thread)?, "Hello?").await?;
    cast.buyer.post("/v1/threads", ask).await?.expect(201)?;
    Ok(())
}
