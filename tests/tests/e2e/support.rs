//! Support threads: a customer asks the shop's operators, one of them takes it and answers.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{PATIENCE, Person, Scene, eventually};
use serde_json::{Value, json};

use crate::cast::{Cast, id_of};

stories!(
    o_support_waits_in_a_queue_until_one_operator_takes_it,
    o_support_of_two_operators_one_takes_a_thread,
    o_support_goes_back_into_the_queue,
    o_support_is_taken_by_answering,
    o_support_that_is_closed_waits_no_more,
    o_support_threads_are_listed_by_who_has_taken_them,
    o_support_queue_is_read_page_by_page_and_by_the_staff_alone,
);

const QUEUE: &str = "/v1/support/queue";

/// A customer's question to the operators, from the browser.
async fn asks(person: &Person, text: &str) -> Result<i64> {
    let body = json!({"subject": {"type": "support", "id": "support"}, "message": {"text": text}});
    id_of(&person.post("/v1/threads", body).await?.expect(201)?)
}

/// A second operator.
async fn colleague(cast: &Cast) -> Result<Person> {
    cast.shop.new_person("colleague", json!({"role": "operator", "name": "Carla"})).await
}

fn take(thread: i64) -> String {
    format!("/v1/threads/{thread}/take")
}

fn release(thread: i64) -> String {
    format!("/v1/threads/{thread}/release")
}

/// The threads that wait, as one of the staff sees them.
async fn waiting(person: &Person) -> Result<Vec<i64>> {
    let queue = person.get(QUEUE).await?.expect(200)?;
    let waiting = queue["waiting"].as_array().context("no queue")?;
    waiting.iter().map(|entry| id_of(&entry["thread"])).collect()
}

async fn unread(person: &Person) -> Result<i64> {
    let unread = person.get("/v1/unread").await?.expect(200)?;
    unread["total"].as_i64().context("no total")
}

async fn o_support_waits_in_a_queue_until_one_operator_takes_it(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = colleague(&cast).await?;
    let (mut helper, _) = cast.helper.socket(None).await?;
    let (mut buyer, _) = cast.buyer.socket(None).await?;
    let thread = asks(&cast.buyer, "Where is my parcel?").await?;
    // Every operator's page is told, and every operator sees it wait.
    let heard = helper.event("thread.created").await?;
    assert_eq!(heard["data"]["support"], json!({"state": "waiting", "operator": null}));
    helper.event("message.created").await?;
    for person in [&cast.helper, &colleague, &cast.boss] {
        assert_eq!(waiting(person).await?, [thread]);
    }
    let queue = cast.helper.get(QUEUE).await?.expect(200)?;
    let entry = &queue["waiting"][0];
    assert_eq!(entry["thread"]["last_message"]["text"], "Where is my parcel?");
    ensure!(entry["waiting_since"].as_str().is_some_and(|it| it.ends_with('Z')), "{entry}");
    let path = format!("/v1/threads/{thread}");
    let seen = cast.buyer.get(&path).await?.expect(200)?;
    assert_eq!(seen["support"]["state"], "waiting");
    // Nobody has anything unread that nobody has taken.
    assert_eq!(unread(&cast.helper).await?, 0);

    let taken = cast.helper.post(&take(thread), json!({})).await?.expect(200)?;
    assert_eq!(taken["support"]["operator"]["id"], "helper");
    let again = cast.helper.post(&take(thread), json!({})).await?.expect(200)?;
    assert_eq!(again["support"], taken["support"]);
    assert_eq!(waiting(&colleague).await?, Vec::<i64>::new());
    // The customer sees at once who answers, and so do the other operators.
    let heard = buyer.event("thread.updated").await?;
    assert_eq!(heard["data"]["id"], thread);
    assert_eq!(heard["data"]["support"]["state"], "assigned");
    assert_eq!(heard["data"]["support"]["operator"]["name"], "H");
    helper.event("thread.updated").await?;
    cast.helper.say(thread, "It comes tomorrow.").await?;
    assert_eq!(buyer.event("message.created").await?["data"]["author"]["id"], "helper");
    assert_eq!(unread(&cast.buyer).await?, 1);
    // Who took it stands in the conversation, as nobody's message.
    let page = cast.buyer.get(&format!("{path}/messages")).await?.expect(200)?;
    let entries = page["messages"].as_array().context("no messages")?;
    let entries: Vec<_> = entries.iter().map(|it| it["system"].as_str()).collect();
    assert_eq!(entries, [None, Some("assigned"), None]);
    // What the customer writes now waits for the one who has it.
    cast.buyer.say(thread, "Thank you!").await?;
    assert_eq!((unread(&cast.helper).await?, unread(&colleague).await?), (1, 0));

    // Others see and hear nothing of it, and take nothing.
    for (person, status) in [
        (&cast.outsider, 404),
        (&cast.seller, 404),
        (&cast.rival, 404),
        (&cast.clerk, 403),
        (&cast.buyer, 403),
    ] {
        for path in [take(thread), release(thread)] {
            let answer = person.post(&path, json!({})).await?;
            ensure!(answer.status == status, "{}: {answer}", person.id);
        }
    }
    for person in [&cast.outsider, &cast.seller] {
        person.get(&path).await?.refused(404, "thread_not_found")?;
        person.post(&take(987_654), json!({})).await?.refused(404, "thread_not_found")?;
    }
    let feed = cast.outsider.feed(0).await?;
    ensure!(feed.is_empty(), "{feed:?}");
    Ok(())
}

async fn o_support_of_two_operators_one_takes_a_thread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = colleague(&cast).await?;
    for round in 0..5 {
        let person = if round % 2 == 0 { &cast.buyer } else { &cast.outsider };
        let body = json!({"subject": {"type": "support", "id": format!("s{round}")}});
        let shop = cast.shop.acting(&person.id);
        let thread = id_of(&shop.post("/v1/threads", body).await?.expect(201)?)?;
        let path = take(thread);
        let (one, other) =
            tokio::join!(cast.helper.post(&path, json!({})), colleague.post(&path, json!({})));
        let (one, other) = (one?, other?);
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{one} {other}");
        let (winner, loser) = if one.status == 200 { (one, other) } else { (other, one) };
        loser.refused(409, "thread_taken")?;
        let winner = winner.expect(200)?;
        let seen = cast.boss.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
        assert_eq!(seen["support"], winner["support"]);
        let assignees = seen["participants"].as_array().into_iter().flatten();
        assert_eq!(assignees.filter(|it| it["role"] == "assignee").count(), 1, "{seen}");
    }
    // A thread with a vendor is nobody's to take.
    let thread = cast.thread("p1").await?;
    cast.boss.post(&take(thread), json!({})).await?.refused(409, "not_support")?;
    cast.boss.post(&release(thread), json!({})).await?.refused(409, "not_support")?;
    let seen = cast.buyer.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    ensure!(seen["support"].is_null(), "{seen}");
    Ok(())
}

async fn o_support_goes_back_into_the_queue(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = colleague(&cast).await?;
    let thread = asks(&cast.buyer, "Hello?").await?;
    cast.helper.post(&release(thread), json!({})).await?.refused(409, "thread_not_taken")?;
    cast.helper.post(&take(thread), json!({})).await?.expect(200)?;
    let (mut buyer, _) = cast.buyer.socket(None).await?;
    let (mut helper, _) = cast.helper.socket(None).await?;
    cast.buyer.say(thread, "Are you there?").await?;
    assert_eq!(helper.event("unread.changed").await?["data"]["total"], 1);
    colleague.post(&release(thread), json!({})).await?.refused(409, "thread_taken")?;

    let back = cast.helper.post(&release(thread), json!({})).await?.expect(200)?;
    assert_eq!(back["support"], json!({"state": "waiting", "operator": null}));
    // It may hear of the taking first.
    eventually("the customer sees it wait", PATIENCE, async || {
        let state = buyer.event("thread.updated").await?["data"]["support"]["state"].clone();
        Ok((state == "waiting").then_some(()))
    })
    .await?;
    // It is not the operator's any more: neither what is unread in it, nor what comes.
    let count = helper.event("unread.changed").await?;
    assert_eq!(count["data"], json!({"thread_id": thread, "unread_count": 0, "total": 0}));
    cast.buyer.say(thread, "Anybody?").await?;
    assert_eq!(unread(&cast.helper).await?, 0);
    assert_eq!(waiting(&cast.helper).await?, [thread]);

    colleague.post(&take(thread), json!({})).await?.expect(200)?;
    // An administrator puts it back, too, and can take it itself.
    cast.boss.post(&release(thread), json!({})).await?.expect(200)?;
    assert_eq!(waiting(&colleague).await?, [thread]);
    cast.boss.post(&take(thread), json!({})).await?.expect(200)?;
    cast.boss.post(&release(thread), json!({})).await?.expect(200)?;
    // Again by the one who had it first, with the same thread and its history.
    cast.helper.post(&take(thread), json!({})).await?.expect(200)?;
    cast.buyer.say(thread, "At last").await?;
    assert_eq!(unread(&cast.helper).await?, 1);

    // Who is an operator no more has none: it waits again, and the customer sees that.
    cast.shop.patch("/v1/users/helper", json!({"role": "customer"})).await?.expect(200)?;
    assert_eq!(waiting(&colleague).await?, [thread]);
    let seen = cast.buyer.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    assert_eq!(seen["support"], json!({"state": "waiting", "operator": null}));
    Ok(())
}

async fn o_support_is_taken_by_answering(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = colleague(&cast).await?;
    let thread = asks(&cast.buyer, "Hello?").await?;
    let (mut buyer, _) = cast.buyer.socket(None).await?;
    cast.helper.say(thread, "Good morning.").await?;
    assert_eq!(buyer.event("thread.updated").await?["data"]["support"]["operator"]["id"], "helper");
    assert_eq!(waiting(&colleague).await?, Vec::<i64>::new());
    colleague.post(&take(thread), json!({})).await?.refused(409, "thread_taken")?;
    // Several may take part; it stays with the first.
    colleague.say(thread, "I know more about it.").await?;
    let seen = cast.buyer.get(&format!("/v1/threads/{thread}")).await?.expect(200)?;
    assert_eq!(seen["support"]["operator"]["id"], "helper");
    assert_eq!(seen["unread_count"], 2);
    // The customer's own words change nothing of it, and asking again goes on in the same thread.
    cast.buyer.say(thread, "Thank you both").await?;
    let body = json!({"subject": {"type": "support", "id": "support"}});
    assert_eq!(cast.buyer.post("/v1/threads", body).await?.expect(200)?["id"], thread);
    assert_eq!(waiting(&colleague).await?, Vec::<i64>::new());
    Ok(())
}

async fn o_support_that_is_closed_waits_no_more(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = asks(&cast.buyer, "Hello?").await?;
    let path = format!("/v1/threads/{thread}");
    cast.buyer.patch(&path, json!({"status": "closed"})).await?.expect(200)?;
    assert_eq!(waiting(&cast.helper).await?, Vec::<i64>::new());
    cast.helper.post(&take(thread), json!({})).await?.refused(409, "thread_closed")?;
    cast.buyer.patch(&path, json!({"status": "open"})).await?.expect(200)?;
    assert_eq!(waiting(&cast.helper).await?, [thread]);
    cast.helper.post(&take(thread), json!({})).await?.expect(200)?;
    // The one who has it keeps it.
    cast.helper.patch(&path, json!({"status": "closed"})).await?.expect(200)?;
    let again = cast.buyer.patch(&path, json!({"status": "open"})).await?.expect(200)?;
    assert_eq!(again["support"]["operator"]["id"], "helper");
    assert_eq!(waiting(&cast.helper).await?, Vec::<i64>::new());
    Ok(())
}

/// The threads of a list, or those of the messages that a search finds.
async fn listed(person: &Person, path: &str) -> Result<Vec<i64>> {
    let page = person.get(path).await?.expect(200)?;
    let threads = page["threads"].as_array().into_iter().flatten().map(id_of);
    let found = page["results"].as_array().into_iter().flatten().map(|it| id_of(&it["thread"]));
    let mut all = threads.chain(found).collect::<Result<Vec<_>>>()?;
    all.dedup();
    Ok(all)
}

async fn o_support_threads_are_listed_by_who_has_taken_them(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let colleague = colleague(&cast).await?;
    let mut all = Vec::new();
    for person in [&cast.buyer, &cast.outsider, &cast.seller, &cast.rival] {
        all.push(asks(person, "Where is my kumquat?").await?);
    }
    let [first, second, third, waits] = all[..] else { anyhow::bail!("{all:?}") };
    for (operator, thread) in [(&cast.helper, first), (&cast.helper, second), (&colleague, third)] {
        operator.post(&take(thread), json!({})).await?.expect(200)?;
    }
    // Taking part in it is not having it.
    cast.helper.say(third, "I know more about it.").await?;
    for (filter, expected) in [
        ("operator_id=helper", vec![second, first]),
        ("operator_id=colleague", vec![third]),
        ("operator_id=boss", vec![]),
        ("operator_id=nobody", vec![]),
        ("operator_id=buyer", vec![]),
        ("operator_id=helper&customer_id=buyer", vec![first]),
        ("operator_id=helper&subject_type=support&status=open", vec![second, first]),
        ("operator_id=helper&subject_type=product", vec![]),
        ("operator_id=helper&vendor_id=v1", vec![]),
    ] {
        for person in [&cast.helper, &colleague, &cast.boss] {
            for path in ["/v1/threads?", "/v1/threads?q=kumquat&", "/v1/search?q=kumquat&"] {
                let path = format!("{path}{filter}");
                assert_eq!(listed(person, &path).await?, expected, "{}: {path}", person.id);
            }
        }
    }
    // A customer sees the own ones alone, by whatever they are filtered.
    assert_eq!(listed(&cast.buyer, "/v1/threads?operator_id=helper").await?, [first]);
    assert_eq!(listed(&cast.buyer, "/v1/threads?operator_id=colleague").await?, [0_i64; 0]);
    assert_eq!(listed(&cast.outsider, "/v1/search?q=kumquat&operator_id=helper").await?, [second]);
    cast.clerk
        .get("/v1/threads?operator_id=helper")
        .await?
        .refused(403, "manage_messages_required")?;

    // Page by page, and what is unread.
    let page = cast.boss.get("/v1/threads?operator_id=helper&limit=1").await?.expect(200)?;
    let cursor = page["next_cursor"].as_str().context("no second page")?;
    let rest = format!("/v1/threads?operator_id=helper&limit=1&cursor={cursor}");
    assert_eq!(listed(&cast.boss, &rest).await?, [first]);
    cast.buyer.say(first, "Are you there?").await?;
    let unread = "/v1/threads?operator_id=helper&unread=true";
    assert_eq!(listed(&cast.helper, unread).await?, [first]);

    // Put back it is nobody's, and then somebody else's, whose words are found as before.
    cast.helper.post(&release(first), json!({})).await?.expect(200)?;
    assert_eq!(listed(&cast.boss, "/v1/threads?operator_id=helper").await?, [second]);
    assert_eq!(waiting(&cast.boss).await?, [first, waits]);
    cast.boss.post(&take(first), json!({})).await?.expect(200)?;
    for path in ["/v1/threads?operator_id=boss", "/v1/search?q=kumquat&operator_id=boss"] {
        assert_eq!(listed(&colleague, path).await?, [first], "{path}");
    }
    Ok(())
}

async fn o_support_queue_is_read_page_by_page_and_by_the_staff_alone(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let mut all = Vec::new();
    for person in [&cast.buyer, &cast.outsider, &cast.seller, &cast.rival] {
        all.push(asks(person, "Hello?").await?);
    }
    let (mut seen, mut query) = (Vec::new(), String::new());
    loop {
        let page = cast.helper.get(&format!("{QUEUE}?limit=3{query}")).await?.expect(200)?;
        let entries = page["waiting"].as_array().context("no queue")?;
        seen.extend(entries.iter().filter_map(|entry: &Value| entry["thread"]["id"].as_i64()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    assert_eq!(seen, all, "the oldest first, each once");
    for person in [&cast.buyer, &cast.seller] {
        person.get(QUEUE).await?.refused(403, "not_allowed")?;
    }
    cast.clerk.get(QUEUE).await?.refused(403, "manage_messages_required")?;
    cast.shop.get(QUEUE).await?.refused(422, "acting_user_required")?;
    cast.stack.anonymous()?.get(QUEUE).await?.refused(401, "unauthenticated")?;
    Ok(())
}
