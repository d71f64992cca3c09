/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words that mean something to nft, which therefore does not take them for a table's name. */
#ifndef SIPFENCE_NFT_WORDS_H
#define SIPFENCE_NFT_WORDS_H

#include <stdbool.h>
#include <stddef.h>

bool nft_is_word(const char *text, size_t length);

#endif
