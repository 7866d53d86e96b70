import { expect, test } from '@playwright/test';
import { addDays } from 'date-fns';

test.describe.configure({ mode: 'serial' });

test('a page is filmed', async ({ page }) => {
  await page.goto('/');
  await expect(page.locator('#root')).toBeVisible();
});

test('a package and a variable of the suite', () => {
  expect(addDays(new Date(2026, 0, 31), 1).getMonth()).toBe(1);
  expect(process.env.SHOP_TOKEN).toBe('a value = with a sign');
  expect(process.env.CI).toBeUndefined();
});

test('one that fails', () => {
  expect(1 + 1, 'the sum').toBe(3);
});

test('what comes after it', () => {});
