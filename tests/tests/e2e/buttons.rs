//! R1, R5, R9, R10, R13: which button a page shows to whom, and the thread that it leads to.

use anyhow::{Context, Result, ensure};
use chaffer_tests::{Answer, Api, Scene};
use serde_json::{Value, json};

use crate::cast::{Cast, id_of, vendor};

stories!(
    r1_a_page_asks_once_for_all_its_buttons,
    r1_a_button_knows_the_open_thread_and_what_is_unread,
    r1_a_template_gets_what_the_page_needs_to_start_the_thread,
    r1_visitors_who_have_not_signed_in_see_buttons_and_no_threads,
    r5_a_vendor_writes_to_the_customer_of_an_order,
    r9_r10_a_vendor_without_messaging_has_no_button,
    r13_the_button_looks_as_the_shop_says_in_the_language_of_the_page,
);

fn about(kind: &str, id: &str, vendor: &str) -> Value {
    json!({"subject": {"type": kind, "id": id}, "vendor_id": vendor})
}

fn support() -> Value {
    json!({"subject": {"type": "support", "id": "support"}})
}

/// An order as its vendor and the staff see it.
fn order_of(customer: &str, id: &str, vendor: &str) -> Value {
    let mut order = about("order", id, vendor);
    order["customer_id"] = json!(customer);
    order
}

async fn ask(api: &Api, subjects: &[Value]) -> Result<Answer> {
    api.post("/v1/buttons", json!({"subjects": subjects})).await
}

/// The answers for the subjects, in their order.
async fn buttons(api: &Api, subjects: &[Value]) -> Result<Vec<Value>> {
    let answer = ask(api, subjects).await?.expect(200)?;
    let list = answer["buttons"].as_array().context("no buttons")?.clone();
    ensure!(list.len() == subjects.len(), "{answer}");
    for (asked, shown) in subjects.iter().zip(&list) {
        ensure!(asked["subject"]["type"] == shown["subject_type"], "{shown}");
        ensure!(asked["subject"]["id"] == shown["subject_id"], "{shown}");
    }
    Ok(list)
}

/// Whom the buttons lead to; `-` where there is none.
async fn contacts(api: &Api, subjects: &[Value]) -> Result<Vec<String>> {
    let shown = buttons(api, subjects).await?;
    Ok(shown.iter().map(|it| it["button"]["contact"].as_str().unwrap_or("-").to_owned()).collect())
}

async fn r1_a_page_asks_once_for_all_its_buttons(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let page = [
        about("product", "p1", "v1"),
        about("vendor", "v1", "v1"),
        json!({"subject": {"type": "vendor", "id": "v2"}}),
        about("order", "o1", "v1"),
        about("product", "p2", "v2"),
        support(),
        about("product", "p3", "unknown"),
        json!({"subject": {"type": "product", "id": "p4"}}),
        order_of("buyer", "o2", "v1"),
    ];
    for api in [&cast.buyer.api().clone(), &cast.shop.acting("buyer")] {
        let shown = contacts(api, &page).await?;
        let expected =
            ["vendor", "vendor", "vendor", "vendor", "vendor", "support", "-", "-", "vendor"];
        assert_eq!(shown, expected);
    }
    // The order of another customer is nobody else's to ask about.
    assert_eq!(contacts(&cast.outsider, &page[8..]).await?, ["-"]);
    // R8: an administrator without the right sees nothing; operators are asked, they do not ask.
    let nothing = vec!["-"; page.len()];
    assert_eq!(contacts(&cast.clerk, &page).await?, nothing);
    assert_eq!(contacts(&cast.helper, &page).await?, nothing);

    // A product list has many.
    let list: Vec<Value> =
        (0..100).map(|number| about("product", &format!("p{number}"), "v1")).collect();
    assert_eq!(contacts(&cast.buyer, &list).await?, vec!["vendor"; 100]);
    let mut longer = list;
    longer.push(support());
    let problem = ask(&cast.buyer, &longer).await?.refused(422, "invalid_request")?;
    assert_eq!(problem["errors"][0]["pointer"], "/subjects");
    assert_eq!(buttons(&cast.buyer, &[]).await?, Vec::<Value>::new());

    let wrong = json!({"subject": {"type": "product", "id": "p", "url": "javascript:x"}});
    let problem = ask(&cast.buyer, &[support(), wrong]).await?.refused(422, "invalid_request")?;
    assert_eq!(problem["errors"][0]["pointer"], "/subjects/1/subject/url");
    for wrong in [json!(["product"]), json!({"subject": {"type": "shop", "id": "1"}}), json!(1)] {
        ask(&cast.buyer, &[wrong]).await?.refused(422, "invalid_request")?;
    }
    Ok(())
}

async fn r1_a_button_knows_the_open_thread_and_what_is_unread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let page = [about("product", "p1", "v1"), about("product", "p2", "v1")];
    let shown = buttons(&cast.buyer, &page).await?;
    ensure!(shown.iter().all(|it| it["thread"].is_null()), "{shown:?}");
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "Is it blue?").await?;
    cast.seller.say(thread, "Yes.").await?;
    cast.seller.say(thread, "Very.").await?;
    let shown = buttons(&cast.buyer, &page).await?;
    assert_eq!(shown[0]["thread"], json!({"id": thread, "unread_count": 2}));
    ensure!(shown[1]["thread"].is_null(), "{shown:?}");
    // The same page shows another person nothing of it.
    let others = buttons(&cast.outsider, &page).await?;
    ensure!(others.iter().all(|it| it["thread"].is_null()), "{others:?}");
    // Its vendor's admins find it by the customer, and nobody else's.
    let with_customer = |customer: &str| {
        let mut asked = about("product", "p1", "v1");
        asked["customer_id"] = json!(customer);
        asked
    };
    let shown = buttons(&cast.seller, &[with_customer("buyer"), with_customer("x")]).await?;
    assert_eq!(shown[0]["thread"]["id"], thread);
    ensure!(shown[1]["thread"].is_null(), "{shown:?}");
    let rivals = buttons(&cast.rival, &[with_customer("buyer")]).await?;
    ensure!(rivals[0]["thread"].is_null() && rivals[0]["button"].is_null(), "{rivals:?}");
    Ok(())
}

async fn r1_a_template_gets_what_the_page_needs_to_start_the_thread(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let mut asked = about("order", "o1", "v1");
    asked["subject"]["title"] = json!("Order 1");
    asked["subject"]["url"] = json!("https://shop.example/o/1");
    // A browser is told nothing that it could sign with.
    let shown = buttons(&cast.buyer, &[asked.clone()]).await?;
    ensure!(shown[0]["subject_signature"].is_null(), "{shown:?}");
    let shown = buttons(&cast.shop.acting("buyer"), &[asked.clone()]).await?;
    let signature = shown[0]["subject_signature"].as_str().context("no signature")?;
    let mut start = asked.clone();
    start["message"] = json!({"text": "When does it come?"});
    cast.buyer
        .post("/v1/threads", start.clone())
        .await?
        .refused(403, "subject_signature_required")?;
    start["subject_signature"] = json!(signature);
    let thread = id_of(&cast.buyer.post("/v1/threads", start.clone()).await?.expect(201)?)?;
    let shown = buttons(&cast.shop.acting("buyer"), &[asked.clone()]).await?;
    assert_eq!(shown[0]["thread"]["id"], thread);
    // It holds for this customer and this subject alone.
    let stolen = cast.outsider.post("/v1/threads", start.clone()).await?;
    stolen.refused(403, "subject_signature_wrong")?;
    start["subject"]["title"] = json!("Order 2");
    cast.buyer.post("/v1/threads", start).await?.refused(403, "subject_signature_wrong")?;
    Ok(())
}

async fn r1_visitors_who_have_not_signed_in_see_buttons_and_no_threads(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    cast.buyer.say(thread, "Hello?").await?;
    let page = [
        about("product", "p1", "v1"),
        about("vendor", "v1", "v1"),
        support(),
        order_of("buyer", "o1", "v1"),
    ];
    // A page without a token, and a template that serves somebody who has not signed in.
    for api in [&cast.stack.anonymous()?, &*cast.shop] {
        assert_eq!(contacts(api, &page).await?, ["vendor", "vendor", "support", "-"]);
        for shown in buttons(api, &page).await? {
            ensure!(shown["thread"].is_null() && shown["subject_signature"].is_null(), "{shown}");
        }
    }
    let forged = cast.stack.anonymous()?.with_bearer("a.b.c");
    ask(&forged, &page).await?.refused(401, "invalid_token")?;
    Ok(())
}

async fn r5_a_vendor_writes_to_the_customer_of_an_order(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let order = order_of("buyer", "o1", "v1");
    let shown = buttons(&cast.seller, std::slice::from_ref(&order)).await?;
    assert_eq!(shown[0]["button"]["label"], "Contact customer");
    // Its own products and its own page have none, another vendor's have what any customer sees.
    let page = [
        about("product", "p1", "v1"),
        about("vendor", "v1", "v1"),
        about("product", "p2", "v2"),
        about("order", "o1", "v1"),
        order_of("seller", "o2", "v1"),
        order_of("buyer", "o3", "v2"),
        support(),
    ];
    assert_eq!(
        contacts(&cast.seller, &page).await?,
        ["-", "-", "vendor", "-", "-", "-", "support"]
    );
    let staff = contacts(&cast.boss, &[order.clone(), about("order", "o1", "v1")]).await?;
    assert_eq!(staff, ["customer", "-"]);
    // The storefront's switches are not about the vendor's own pages.
    let off = json!({"button_on_order_page": false});
    cast.boss.patch("/v1/settings", off).await?.expect(200)?;
    assert_eq!(contacts(&cast.seller, std::slice::from_ref(&order)).await?, ["customer"]);
    assert_eq!(contacts(&cast.buyer, &[about("order", "o1", "v1")]).await?, ["-"]);

    // It writes, the customer is told at once, and both pages know the thread.
    let (mut buyer, _) = cast.buyer.socket(None).await?;
    let shown = buttons(&cast.shop.acting("seller"), std::slice::from_ref(&order)).await?;
    let mut start = order.clone();
    start["subject_signature"] = shown[0]["subject_signature"].clone();
    start["message"] = json!({"text": "Your order is on its way."});
    let thread = cast.seller.post("/v1/threads", start).await?.expect(201)?;
    assert_eq!(thread["customer"]["id"], "buyer");
    let heard = buyer.event("message.created").await?;
    assert_eq!(heard["data"]["text"], "Your order is on its way.");
    let shown = buttons(&cast.buyer, &[about("order", "o1", "v1")]).await?;
    assert_eq!(shown[0]["thread"], json!({"id": thread["id"], "unread_count": 1}));
    let shown = buttons(&cast.seller, &[order]).await?;
    assert_eq!(shown[0]["thread"], json!({"id": thread["id"], "unread_count": 0}));
    Ok(())
}

async fn r9_r10_a_vendor_without_messaging_has_no_button(scene: &Scene) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let thread = cast.thread("p1").await?;
    let page = [about("product", "p1", "v1"), about("vendor", "v1", "v1"), support()];
    let order = [order_of("buyer", "o1", "v1")];
    let mut disabled = vendor("Vendor One");
    disabled["status"] = json!("disabled");
    let mut without_plan = vendor("Vendor One");
    without_plan["plan_includes_messaging"] = json!(false);
    for state in [disabled, without_plan] {
        cast.shop.put("/v1/vendors/v1", state).await?.expect(200)?;
        for api in [cast.buyer.api().clone(), cast.stack.anonymous()?] {
            assert_eq!(contacts(&api, &page).await?, ["-", "-", "support"]);
        }
        assert_eq!(contacts(&cast.seller, &order).await?, ["-"]);
        assert_eq!(contacts(&cast.boss, &order).await?, ["-"]);
        // What was said can still be read.
        let shown = buttons(&cast.buyer, &page).await?;
        assert_eq!(shown[0]["thread"]["id"], thread);
        cast.shop.put("/v1/vendors/v1", vendor("Vendor One")).await?.expect(200)?;
        assert_eq!(contacts(&cast.buyer, &page).await?, ["vendor", "vendor", "support"]);
    }
    Ok(())
}

async fn r13_the_button_looks_as_the_shop_says_in_the_language_of_the_page(
    scene: &Scene,
) -> Result<()> {
    let cast = Cast::new(scene).await?;
    let page = [
        about("product", "p1", "v1"),
        about("vendor", "v1", "v1"),
        about("order", "o1", "v1"),
        support(),
    ];
    let shown = buttons(&cast.buyer, &page).await?;
    let standard = json!({"contact": "vendor", "label": "Contact vendor", "type": "icon_and_text",
        "colour": "primary"});
    assert_eq!(shown[0]["button"], standard);
    // Each page is switched by itself, from the next question on.
    for (number, name) in [
        (0, "button_on_product_page"),
        (1, "button_on_vendor_page"),
        (2, "button_on_order_page"),
        (3, "button_for_support"),
    ] {
        cast.boss.patch("/v1/settings", json!({name: false})).await?.expect(200)?;
        let shown = buttons(&cast.buyer, &page).await?;
        let hidden: Vec<usize> = (0..4).filter(|place| shown[*place]["button"].is_null()).collect();
        assert_eq!(hidden, [number], "{name}");
        cast.boss.patch("/v1/settings", json!({name: null})).await?.expect(200)?;
    }
    let looks = json!({"button_type": "text", "button_colour": "#0a7d5a",
        "contact_vendor_label": {"en": "Ask the seller", "de": "Verkäufer fragen"}});
    cast.boss.patch("/v1/settings", looks).await?.expect(200)?;
    let shown = buttons(&cast.buyer, &page).await?;
    let expected = json!({"contact": "vendor", "label": "Ask the seller", "type": "text",
        "colour": "#0a7d5a"});
    assert_eq!(shown[0]["button"], expected);

    let label = async |language: Value| -> Result<Value> {
        let body = json!({"subjects": page, "language": language});
        let answer = cast.buyer.post("/v1/buttons", body).await?.expect(200)?;
        Ok(json!([
            answer["buttons"][0]["button"]["label"],
            answer["buttons"][3]["button"]["label"]
        ]))
    };
    assert_eq!(label(json!("de-AT")).await?, json!(["Verkäufer fragen", "Contact us"]));
    assert_eq!(label(json!("ru")).await?, json!(["Ask the seller", "Написать нам"]));
    // The person's own, where the page does not say; the shop's, where there is no such text.
    cast.shop.patch("/v1/users/buyer", json!({"locale": "de"})).await?.expect(200)?;
    cast.boss.patch("/v1/settings", json!({"language": "ru"})).await?.expect(200)?;
    assert_eq!(label(Value::Null).await?, json!(["Verkäufer fragen", "Написать нам"]));
    Ok(())
}
