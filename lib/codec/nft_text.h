/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ruleset -> a script for `nft -f` (nft(8)). Loading it gives the table that the netlink batch of
 * the same ruleset gives. The script swaps the table in one transaction: it declares it (so that
 * the deletion finds one), deletes it, and declares it whole.
 */
#ifndef SIPFENCE_NFT_TEXT_H
#define SIPFENCE_NFT_TEXT_H

#include "ruleset.h"
#include "text.h"

void nft_text_print(const struct ruleset *ruleset, struct text *text);

#endif
