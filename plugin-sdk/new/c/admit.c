// Refuses projects whose name begins with `tmp-`.
#include <string.h>

#include "admit.h"

void exports_admit_describe(admit_description_t *ret) {
    admit_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    admit_string_set(&ret->version, "0.1.0");
    admit_string_set(&ret->summary, "Refuses projects whose name begins with tmp-");
}

// Where `word` stands at `from` or later; the text's length if nowhere. The host's texts have no zero at their end.
static size_t find(const admit_string_t *text, size_t from, const char *word) {
    size_t length = strlen(word);
    for (size_t at = from; at + length <= text->len; at++) {
        if (memcmp(text->ptr + at, word, length) == 0) return at;
    }
    return text->len;
}

// The host writes its JSON without spaces, and a quote inside of a text with a backslash: enough for one field.
bool exports_admit_admit(admit_string_t *request, admit_decision_t *ret, admit_error_t *err) {
    (void)err;
    size_t wanted = find(request, 0, "\"wanted\":{");
    if (find(request, wanted, "\"name\":\"tmp-") < request->len) {
        ret->tag = ADMIT_DECISION_REFUSE;
        admit_string_set(&ret->val.refuse, "a name that begins with `tmp-` is for nothing that stays");
    } else {
        ret->tag = ADMIT_DECISION_ADMIT;
    }
    return true;
}
