//! The last labels of host names, as far as people write them into messages (IANA's list without those nobody uses, and without
//! those that are better known as the ends of file names: `md`, `py`, `sh`, `rs`, `zip`, `mov`).

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::fold::fold_str;

const KNOWN: &str = "ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc \
    cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge gf gg gh gi \
    gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la \
    lb lc li lk lr ls lt lu lv ly ma mc me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz \
    om pa pe pf pg ph pk pl pm pn pr ps pt pw qa re ro ru rw sa sb sc sd se sg si sk sl sm sn so sr ss st su sv sx sy sz tc td tf tg \
    th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw \
    com net org info biz name pro edu gov mil int arpa mobi tel travel jobs cat asia post xxx museum aero coop \
    app dev page blog shop store online site website tech space club live life world today news email chat social link click \
    xyz top icu vip fun one art design studio agency company group team work works digital media network cloud host hosting \
    solutions services support systems software center zone city land house home market marketplace sale deals discount gift \
    shopping boutique fashion jewelry beauty style clothing shoes bike car cars auto parts tools toys games game bet casino \
    poker porn sex adult dating gay photo photos gallery pics video film movie music band audio radio tube stream tv \
    bank finance money cash credit loan tax legal law lawyer dental doctor health care clinic fit yoga school academy education \
    university college courses training guide tips wiki pub bar cafe coffee restaurant pizza food recipes wine beer kitchen \
    garden flowers farm eco green energy solar pet dog horse fish baby kids family wedding party events tickets tours \
    holiday hotel rentals rent property realty estate build construction repair plumbing supply supplies express delivery \
    moscow москва tatar berlin london paris nyc tokyo amsterdam wien koeln hamburg bayern ruhr swiss nrw kiwi africa lat \
    рф рус дети онлайн сайт орг ком бел укр мкд срб қаз ελ бг ею мон 中国 中國 公司 网络 香港 台湾 한국 みんな";

/// Those that also are words, with which a sentence may go on when the space behind the full stop is missing.
const WORDS: &str = "ac ad ag ai al am ao ar as at au ba be bi by ca ch ci co de do dm es et eu fi fm ga ge gm he hm id ie il im in io is it je \
    ki la le li lt lu ma me mi mm mo ms mu my na ne ni no nu om pa pe pm pr ps re ro sa se si so sr st su ta to tv us va ve vi ws ye \
    name pro post cat app page blog shop store online site space club live life world today news email chat social link click top \
    fun one art design studio agency company group team work works media network cloud host services support systems software \
    center zone city land house home market sale deals gift shopping fashion jewelry beauty style clothing shoes bike car cars \
    auto parts tools toys games game bet casino photo photos gallery pics video film movie music band audio radio tube stream \
    bank finance money cash credit loan tax legal law lawyer doctor health care clinic fit yoga school academy education \
    university college courses training guide tips pub bar cafe coffee restaurant pizza food recipes wine beer kitchen garden \
    flowers farm green energy solar pet dog horse fish baby kids family wedding party events tickets tours holiday hotel \
    rentals rent property estate build construction repair supply supplies express delivery sex adult dating дети онлайн сайт";

/// Those that are written in Cyrillic, and what people write for `ru`, `com` and `org`.
const CYRILLIC: &str = "рф рус дети онлайн сайт орг ком бел укр мкд срб қаз мон москва ру сом";

/// Words with which a sentence ends before one of `WORDS` begins the next.
const ENDS: &str = "yes no ok okay done great good fine thanks thank thx you please sure sorry hello hi hey bye cool nice perfect \
    it that this here there now today tomorrow then them me him her us so too not are is was will can more well right wrong";

static SETS: LazyLock<[HashSet<String>; 2]> =
    LazyLock::new(|| [KNOWN, WORDS].map(|list| list.split_whitespace().map(fold_str).collect()));

/// Whether host names end so (folded).
pub(crate) fn is_known(tld: &str) -> bool {
    tld.starts_with("xn--") || SETS.first().is_some_and(|known| known.contains(tld))
}

/// Whether it is a word as well (folded).
pub(crate) fn is_word(tld: &str) -> bool {
    SETS.get(1).is_some_and(|words| words.contains(tld))
}

/// Whether host names end so, of one that is written in Cyrillic letters alone; `None` for others. Not folded.
pub(crate) fn is_known_cyrillic(tld: &str) -> Option<bool> {
    let is_cyrillic = |c: char| matches!(c, '\u{400}'..='\u{52f}');
    let tld = tld.to_lowercase();
    tld.chars().all(is_cyrillic).then(|| CYRILLIC.split_whitespace().any(|known| known == tld))
}

/// Whether a sentence may end with this word (folded).
pub(crate) fn ends_a_sentence(word: &str) -> bool {
    ENDS.split_whitespace().any(|end| end == word)
}
