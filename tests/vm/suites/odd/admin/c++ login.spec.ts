// Its name ends like another one's; its tests stand in one line.
import { test } from '@playwright/test';

for (const n of [1, 2]) test(`number ${n}`, () => {});
